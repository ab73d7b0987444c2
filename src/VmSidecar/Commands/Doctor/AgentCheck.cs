using VmSidecar.Linux.Processes;

namespace VmSidecar.Commands.Doctor;

/// <summary>The agent runs and answers on its status port.</summary>
internal sealed class AgentCheck : IDoctorCheck
{
    public string Code => "AGT001";

    public string Title => "agent";

    public IReadOnlyList<string> Needs => ["CFG001"];

    public Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        if (context.InAdvance) { return Task.FromResult(Finding.Skip("not started yet")); }
        int port = context.Options.Status.Port;
        if (context.Agent is { } agent) { return Task.FromResult(Finding.Ok($"runs since {agent["started"]}")); }
        string holder = PortOwner.Find(port) is { } owner ? $"port {port} is held by {owner}, which is no agent" : $"nothing listens on its status port {port}";
        return Task.FromResult(Finding.Fail(holder, "Start it (systemctl start istio) and look into /var/log/istio/istio.log"));
    }
}
