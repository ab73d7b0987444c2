using VmSidecar.Health;

namespace VmSidecar.Commands.Doctor;

/// <summary>The workload's own probe, once, as the agent would do it.</summary>
internal sealed class ApplicationCheck : IDoctorCheck
{
    public string Code => "APP001";

    public string Title => "application probe";

    public IReadOnlyList<string> Needs => ["CFG001"];

    public async Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        if (context.Options.Probe is not { } probe) { return Finding.Skip("no readinessProbe is configured"); }
        string path = context.Cli.Environment.GetValueOrDefault("PATH", "/usr/bin:/bin");
        IProber? prober = Probers.For(probe, context.Options.Envoy.Localhost == "::1", path, context.Time);
        if (prober is null) { return Finding.Fail("the readinessProbe names no action", "Give it httpGet, tcpSocket, exec or grpc"); }
        using var owned = prober as IDisposable;
        string? problem = await prober.ProbeAsync(stop);
        return problem is null ? Finding.Ok("healthy") : Finding.Fail(problem, "Start the application, or correct the probe in the WorkloadGroup and make the files anew");
    }
}
