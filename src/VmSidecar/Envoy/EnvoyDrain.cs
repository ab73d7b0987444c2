using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Linux.Processes;
using VmSidecar.Logging;

namespace VmSidecar.Envoy;

/// <summary>
/// Ends one Envoy. Stages: 1 ask it to drain, 2 wait (a fixed time, or until no connection is left), 3 SIGTERM, so that it flushes
/// its access logs, 4 SIGKILL, 5 reap. The hard token cuts stage 2 short; stages 3 to 5 always run: no Envoy outlives the agent.
/// </summary>
internal sealed class EnvoyDrain(EnvoyOptions options, EnvoyAdmin admin, TimeProvider time, ILogger log)
{
    private const string Post = "/drain_listeners?inboundonly&graceful";
    private static readonly TimeSpan PostTimeout = TimeSpan.FromSeconds(2); // pilot-agent has none: a hung Envoy then hangs its stop
    private static readonly TimeSpan CountTimeout = TimeSpan.FromSeconds(2), CountPeriod = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan TermGrace = TimeSpan.FromSeconds(1); // Envoy flushes within its interval of one second
    private const int MaxCountErrors = 5;
    private bool _drained;

    /// <summary>The <c>/drain</c> endpoint: connections are told to close, listeners stay until the exit, and a later stop is immediate.</summary>
    public async Task<string?> DrainOnlyAsync(CancellationToken stop)
    {
        _drained = true;
        AdminReply reply = await admin.PostAsync(Post + "&skip_exit", PostTimeout, stop);
        return reply.Problem;
    }

    /// <summary>A stop would not drain.</summary>
    public bool IsDrained => _drained;

    /// <summary>The <c>/quitquitquit</c> endpoint: the coming stop does not drain.</summary>
    public void SkipDrain() => _drained = true;

    /// <summary>All stages. Returns when the process is reaped.</summary>
    public async Task RunAsync(EnvoyProcess envoy, CancellationToken hard)
    {
        EnvoyLog.Draining(log);
        if (_drained) { EnvoyLog.AlreadyDrained(log); }
        else { await DrainAsync(envoy, hard); }
        EnvoyLog.Aborting(log);
        await EndAsync(envoy);
        EnvoyLog.Aborted(log);
        EnvoyLog.InstanceAborted(log);
    }

    private async Task DrainAsync(EnvoyProcess envoy, CancellationToken hard)
    {
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(hard);
        Task watch = CancelAtExitAsync(envoy, ended);
        try
        {
            AdminReply reply = await admin.PostAsync(Post, PostTimeout, ended.Token);
            if (reply.Problem is { } problem) { EnvoyLog.DrainFailed(log, problem); }
            if (options.ExitOnZeroConnections) { await UntilIdleAsync(ended.Token); }
            else { await FixedAsync(ended.Token); }
        }
        catch (OperationCanceledException) when (ended.IsCancellationRequested)
        {
            if (hard.IsCancellationRequested) { EnvoyLog.Hurried(log); }
        }
        finally
        {
            await ended.CancelAsync();
            await watch;
        }
    }

    private async Task FixedAsync(CancellationToken ended)
    {
        EnvoyLog.DrainPeriod(log, GoDuration.Format(options.TerminationDrainDuration));
        await Task.Delay(options.TerminationDrainDuration, time, ended);
        EnvoyLog.DrainComplete(log);
    }

    /// <summary>Bounded by terminationDrainDuration where that is longer than the minimum, else by the stop's own budget.</summary>
    private async Task UntilIdleAsync(CancellationToken ended)
    {
        long begin = time.GetTimestamp();
        await Task.Delay(options.MinimumDrainDuration, time, ended);
        EnvoyLog.CountingConnections(log);
        int errors = 0;
        while (errors < MaxCountErrors)
        {
            AdminReply reply = await admin.GetAsync("/stats?usedonly&filter=downstream_cx_active$", CountTimeout, ended);
            errors = reply.Problem is null ? 0 : errors + 1;
            if (reply.Problem is null)
            {
                long connections = EnvoyStats.ActiveConnections(reply.Body!, options.EnvoyStatusPort, options.EnvoyPrometheusPort) ?? 0;
                if (connections == 0) { EnvoyLog.NoConnectionsLeft(log); return; }
                EnvoyLog.ConnectionsLeft(log, connections);
            }
            if (options.TerminationDrainDuration > options.MinimumDrainDuration && time.GetElapsedTime(begin) >= options.TerminationDrainDuration) { EnvoyLog.DrainComplete(log); return; }
            await Task.Delay(CountPeriod, time, ended);
        }
    }

    /// <summary>Stages 3 to 5: for an Envoy that has nothing to drain.</summary>
    public async Task EndAsync(EnvoyProcess envoy)
    {
        envoy.TrySignal(SignalNumber.Term);
        Task grace = Task.Delay(TermGrace, time, CancellationToken.None);
        if (await Task.WhenAny(envoy.Exited, grace) != envoy.Exited)
        {
            EnvoyLog.Killing(log, GoDuration.Format(TermGrace));
            envoy.Kill();
        }
        await envoy.Exited;
    }

    private static async Task CancelAtExitAsync(EnvoyProcess envoy, CancellationTokenSource ended)
    {
        var cut = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using CancellationTokenRegistration registration = ended.Token.Register(() => cut.TrySetResult());
        await Task.WhenAny(envoy.Exited, cut.Task);
        await ended.CancelAsync();
    }
}
