using VmSidecar.Envoy;

namespace VmSidecar.Commands.Doctor;

/// <summary>Envoy runs, has its configuration and serves.</summary>
internal sealed class EnvoyCheck : IDoctorCheck
{
    public string Code => "ENV002";

    public string Title => "Envoy";

    public IReadOnlyList<string> Needs => ["ENV001", "AGT001"];

    public async Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        if (context.InAdvance || !context.Options.Envoy.Enabled) { return Finding.Skip(context.InAdvance ? "the agent has not been started" : "DISABLE_ENVOY is set"); }
        if (context.Told("envoy", "phase") is { } phase && phase != nameof(EnvoyPhase.Running))
        {
            return Finding.Fail($"it does not run: {context.Told("envoy", "lastExit") ?? phase}", "Read its last words above; the agent starts it again by itself");
        }
        using var admin = new EnvoyAdmin(context.Options.Envoy, context.Time);
        string? problem = await new EnvoyReadiness(admin, null).CheckAsync(stop);
        return problem is null ? Finding.Ok($"serves (pid {context.Told("envoy", "pid")})") : Finding.Fail(problem, "See XDS001; Envoy's own lines are in /var/log/istio/istio.log");
    }
}
