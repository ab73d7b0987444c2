namespace VmSidecar.Commands.Doctor;

/// <summary>The VM is in the mesh: Envoy's stream is up, with which istiod makes the WorkloadEntry.</summary>
internal sealed class RegistrationCheck : IDoctorCheck
{
    public string Code => "REG001";

    public string Title => "registration";

    public IReadOnlyList<string> Needs => ["XDS001", "AGT001"];

    public Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        if (context.InAdvance) { return Task.FromResult(Finding.Skip("the agent has not been started")); }
        string group = context.Options.Node.Metadata["AUTO_REGISTER_GROUP"]?.ToString() ?? "";
        if (context.Told("istiod", "stream") != "Joint")
        {
            string trouble = context.Told("istiod", "trouble") is { Length: > 0 } said ? $": {said}" : "";
            return Task.FromResult(Finding.Fail($"Envoy has no stream to istiod, so this host is no endpoint{trouble}", "See ENV001 and ENV002"));
        }
        return Task.FromResult(Finding.Ok(group.Length == 0 ? "connected; no auto-registration asked for (ISTIO_META_AUTO_REGISTER_GROUP)" : $"connected as a member of {group}"));
    }
}
