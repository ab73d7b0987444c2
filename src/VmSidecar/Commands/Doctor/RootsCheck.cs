namespace VmSidecar.Commands.Doctor;

/// <summary>The roots that verify istiod are there and valid.</summary>
internal sealed class RootsCheck : IDoctorCheck
{
    public string Code => "CRT001";

    public string Title => "root certificate";

    public IReadOnlyList<string> Needs => ["CFG001"];

    public Task<Finding> RunAsync(DoctorContext context, CancellationToken stop) => Task.FromResult(
        context.HostFinding("root certificate") ?? Finding.Ok(context.Options.Identity.XdsRootFile ?? "the system's store"));
}
