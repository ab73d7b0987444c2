using Microsoft.Extensions.Logging;

namespace VmSidecar.Envoy;

/// <summary>Messages about Envoy's life. Texts that pilot-agent has too are its own, word for word.</summary>
internal static partial class EnvoyLog
{
    [LoggerMessage(1, LogLevel.Information, "Starting proxy agent")]
    public static partial void Starting(ILogger log);

    [LoggerMessage(2, LogLevel.Information, "Envoy command: [{Arguments}]")]
    public static partial void Command(ILogger log, string arguments);

    [LoggerMessage(3, LogLevel.Information, "Envoy exited normally")]
    public static partial void ExitedNormally(ILogger log);

    [LoggerMessage(4, LogLevel.Error, "Envoy exited with error: {Exit}")]
    public static partial void ExitedWithError(ILogger log, string exit);

    [LoggerMessage(5, LogLevel.Warning, "Envoy was killed by SIGKILL. If nobody did that, memory ran out: 'journalctl -k' shows the kernel's out-of-memory killer")]
    public static partial void MaybeOutOfMemory(ILogger log);

    [LoggerMessage(6, LogLevel.Warning, "Envoy ended {Lived} after its start; starting it again in {Delay}. {Cause}")]
    public static partial void Restarting(ILogger log, string lived, string delay, string cause);

    [LoggerMessage(7, LogLevel.Warning, "Envoy has ended {Failures} times in a row, last with {Exit}; it is tried again every {Delay}. {Cause}")]
    public static partial void StillFailing(ILogger log, int failures, string exit, string delay, string cause);

    [LoggerMessage(8, LogLevel.Information, "Envoy runs again after {Failures} failed starts")]
    public static partial void Recovered(ILogger log, int failures);

    [LoggerMessage(9, LogLevel.Error, "cannot start Envoy: {Problem}; trying again until it works. DNS, certificates and status stay up")]
    public static partial void CannotStart(ILogger log, string problem);

    [LoggerMessage(10, LogLevel.Warning, "an Envoy of an earlier agent still runs (pid {Process}); ending it")]
    public static partial void OrphanFound(ILogger log, int process);

    [LoggerMessage(11, LogLevel.Warning, "port {Port} is taken by {Owner}; Envoy's admin needs it. Stop that process or set proxyAdminPort")]
    public static partial void PortTaken(ILogger log, int port, string owner);

    [LoggerMessage(12, LogLevel.Information, "Agent draining Proxy for termination")]
    public static partial void Draining(ILogger log);

    [LoggerMessage(13, LogLevel.Information, "Agent already drained, exiting immediately")]
    public static partial void AlreadyDrained(ILogger log);

    [LoggerMessage(14, LogLevel.Information, "Graceful termination period is {Period}, starting...")]
    public static partial void DrainPeriod(ILogger log, string period);

    [LoggerMessage(15, LogLevel.Information, "Graceful termination period complete, terminating remaining proxies.")]
    public static partial void DrainComplete(ILogger log);

    [LoggerMessage(16, LogLevel.Warning, "cannot ask Envoy to drain: {Problem}")]
    public static partial void DrainFailed(ILogger log, string problem);

    [LoggerMessage(17, LogLevel.Information, "Checking for active connections...")]
    public static partial void CountingConnections(ILogger log);

    [LoggerMessage(18, LogLevel.Information, "There are still {Connections} active connections")]
    public static partial void ConnectionsLeft(ILogger log, long connections);

    [LoggerMessage(19, LogLevel.Information, "There are no more active connections. terminating proxy...")]
    public static partial void NoConnectionsLeft(ILogger log);

    [LoggerMessage(20, LogLevel.Warning, "Aborting proxy")]
    public static partial void Aborting(ILogger log);

    [LoggerMessage(21, LogLevel.Information, "Envoy aborted normally")]
    public static partial void Aborted(ILogger log);

    [LoggerMessage(22, LogLevel.Warning, "Aborted proxy instance")]
    public static partial void InstanceAborted(ILogger log);

    [LoggerMessage(23, LogLevel.Warning, "{Lines} lines of Envoy's output were left out: the log does not take them as fast as Envoy writes them")]
    public static partial void LinesDropped(ILogger log, long lines);

    [LoggerMessage(24, LogLevel.Information, "asked to hurry: the drain is cut short")]
    public static partial void Hurried(ILogger log);

    [LoggerMessage(25, LogLevel.Warning, "Envoy did not end within {Grace} of SIGTERM; killing it")]
    public static partial void Killing(ILogger log, string grace);

    [LoggerMessage(26, LogLevel.Information, "Envoy {Version} from {Binary}")]
    public static partial void Version(ILogger log, string version, string binary);

    [LoggerMessage(27, LogLevel.Information, "starting Envoy anew with another bootstrap: {Why}")]
    public static partial void StartingAnew(ILogger log, string why);

    [LoggerMessage(28, LogLevel.Error, "{Why}, and the bootstrap {File} is your own: set its ads_config to api_type GRPC, or remove customConfigFile")]
    public static partial void OwnBootstrap(ILogger log, string why, string file);

    [LoggerMessage(29, LogLevel.Warning, "{Why} since Envoy was started; 'systemctl restart istio' takes the change (ENVOY_HOT_RESTART=true in sidecar.env: without a gap, by itself)")]
    public static partial void TakesRestart(ILogger log, string why);

    [LoggerMessage(30, LogLevel.Information, "{Why}: a new Envoy (epoch {Epoch}) takes over from the running one")]
    public static partial void HandingOver(ILogger log, string why, int epoch);

    [LoggerMessage(31, LogLevel.Error, "{Why}, but the new Envoy is not used: {Problem}. The running one goes on; correct it, the next change is tried again")]
    public static partial void NotHandedOver(ILogger log, string why, string problem);

    [LoggerMessage(32, LogLevel.Error, "the new Envoy did not take over, the running one goes on. {Cause}")]
    public static partial void HandoverFailed(ILogger log, string cause);

    [LoggerMessage(33, LogLevel.Information, "the Envoy that was replaced (pid {Process}) has drained and ended")]
    public static partial void Retired(ILogger log, int process);

    [LoggerMessage(34, LogLevel.Information, "Envoy (pid {Process}) goes on under this agent")]
    public static partial void Adopted(ILogger log, int process);

    [LoggerMessage(35, LogLevel.Warning, "the Envoy of the agent before (pid {Process}) is gone; starting another")]
    public static partial void NotAdopted(ILogger log, int process);
}
