namespace VmSidecar.Commands.Doctor;

/// <summary>The workload certificate on disk is whole and valid.</summary>
internal sealed class CertificateCheck : IDoctorCheck
{
    public string Code => "CRT002";

    public string Title => "workload certificate";

    public IReadOnlyList<string> Needs => ["CFG001", "AGT001"];

    public Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        if (context.InAdvance) { return Task.FromResult(Finding.Skip("the agent has not been started")); }
        string? until = context.Told("certificate", "until");
        string condition = context.Told("certificate", "condition") ?? "";
        if (context.Told("certificate", "source") == "external SDS") { return Task.FromResult(Finding.Ok("issued by an external SDS")); }
        if (until is null) { return Task.FromResult(Finding.Fail($"there is none: {context.Told("certificate", "lastError") ?? "istiod has not been asked yet"}", Advice(context))); }
        return Task.FromResult(condition switch
        {
            "Good" or "Waiting" => Finding.Ok($"valid until {until}"),
            "Lapsing" => new Finding(Outcome.Warning, $"renewal fails: {context.Told("certificate", "lastError")}; the certificate ends at {until}", Advice(context)),
            _ => Finding.Fail($"it ended at {until}: {context.Told("certificate", "lastError")}", Advice(context)),
        });
    }

    /// <summary>The identity's own advice, where it says more than the error does.</summary>
    private static string Advice(DoctorContext context) =>
        context.Told("certificate", "advice") is { Length: > 0 } advice && context.Told("certificate", "lastError")?.Contains(advice, StringComparison.Ordinal) != true
            ? advice : "Mend the first failure; the agent asks again by itself";
}
