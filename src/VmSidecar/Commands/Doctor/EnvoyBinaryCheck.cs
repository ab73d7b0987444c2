namespace VmSidecar.Commands.Doctor;

/// <summary>There is an Envoy to run.</summary>
internal sealed class EnvoyBinaryCheck : IDoctorCheck
{
    public string Code => "ENV001";

    public string Title => "Envoy executable";

    public IReadOnlyList<string> Needs => ["CFG001"];

    public Task<Finding> RunAsync(DoctorContext context, CancellationToken stop) => Task.FromResult(
        !context.Options.Envoy.Enabled ? Finding.Skip("DISABLE_ENVOY is set")
        : context.HostFinding("Envoy binary") ?? Finding.Ok(context.Options.Envoy.Binary ?? "found"));
}
