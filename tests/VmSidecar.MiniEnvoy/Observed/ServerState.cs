using VmSidecar.MiniEnvoy.Resources;
using VmSidecar.MiniEnvoy.Startup;

namespace VmSidecar.MiniEnvoy.Observed;

/// <summary>What the admin API shows and acts on. Made once at start.</summary>
internal sealed class ServerState(Arguments arguments, Bootstrap bootstrap, ClusterSet clusters, ListenerSet listeners, SecretStore secrets, StatStore stats, DrainState drain, EnvoyLog log)
{
    private readonly long _start = TimeProvider.System.GetTimestamp();

    public Arguments Arguments => arguments;
    public Bootstrap Bootstrap => bootstrap;
    public ClusterSet Clusters => clusters;
    public ListenerSet Listeners => listeners;
    public SecretStore Secrets => secrets;
    public StatStore Stats => stats;
    public DrainState Drain => drain;
    public EnvoyLog Log => log;

    /// <summary>Completed by /quitquitquit.</summary>
    public required TaskCompletionSource Quit { get; init; }

    public long UptimeSeconds => (long)TimeProvider.System.GetElapsedTime(_start).TotalSeconds;

    /// <summary>LIVE, DRAINING, PRE_INITIALIZING or INITIALIZING; the index is the stat server.state.</summary>
    public (int Number, string Name) State =>
        !listeners.WorkersStarted ? (clusters.IsWarm ? (3, "INITIALIZING") : (2, "PRE_INITIALIZING"))
        : drain.IsUnhealthy ? (1, "DRAINING") : (0, "LIVE");
}
