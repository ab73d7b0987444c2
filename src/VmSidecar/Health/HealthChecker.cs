using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Envoy;
using VmSidecar.Lifecycle;
using VmSidecar.Logging;

namespace VmSidecar.Health;

/// <summary>
/// Probes the workload and publishes the verdict for the relay, which tells istiod. Stages of a probe: Envoy's readiness, then the
/// application; the first failure is the result. An Envoy that has not begun to serve yet is no result for a while: istiod offers nobody of whom it has heard nothing,
/// and a verdict on the way up would only delay the good one. After a crash it has heard "healthy", so there every probe counts. Owned by SidecarApp; exists only where a readinessProbe is configured.
/// </summary>
internal sealed partial class HealthChecker(ProbeOptions options, IProber application, EnvoyReadiness? envoy, TimeProvider time, ILogger log) : IComponent, IReplaceable, IDisposable
{
    private static readonly TimeSpan EnvoysChance = TimeSpan.FromMinutes(1); // from its start to its first configuration; 17 s with 5,000 services

    private static readonly TimeSpan MarkerLimit = TimeSpan.FromSeconds(1); // a stop does not wait longer for a disk

    private const string Goodbye = "the agent is stopping";

    private readonly HealthPolicy _policy = new(options.SuccessThreshold, options.FailureThreshold);
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _loop = Task.CompletedTask;
    private volatile bool _isLeaving;
    private bool _isBelieved; // istiod may hold us healthy, from the agent before

    public string Name => "healthcheck";

    public Task Completion => _ended.Task;

    /// <summary>The last verdict; null before the first. Set on changes only.</summary>
    public Published<HealthState> State { get; } = new();

    /// <summary>
    /// Fires when the whole agent is asked to stop, before Envoy drains: the workload says goodbye by reporting itself unhealthy, so that istiod
    /// takes its endpoint away while connections still drain, and is probed no more.
    /// </summary>
    public CancellationToken StopRequested { get; init; }

    /// <summary>What outlives a crash of what istiod was told; null: nothing does.</summary>
    public HealthMarker? Marker { get; init; }

    /// <summary>The agent before has left its Envoy, which serves on: its silence on the way up is no crash.</summary>
    public bool TakesOver { get; init; }

    public Task StartAsync(CancellationToken startup)
    {
        _isBelieved = !TakesOver && Marker is { IsThere: true };
        Starting(log, GoDuration.Format(options.InitialDelay));
        _loop = LoopAsync(_stop.Token);
        return Task.CompletedTask;
    }

    /// <summary>Probes no more; what istiod was told last stays so until the next agent finds otherwise.</summary>
    public Task LeaveAsync(CancellationToken hard)
    {
        _isLeaving = true;
        return StopAsync(hard);
    }

    public async Task StopAsync(CancellationToken hard)
    {
        await _stop.CancelAsync();
        await _loop.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // its fault is in Completion
        if (Marker is not null) { await Marker.Written.WaitAsync(MarkerLimit, time, hard).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); }
        (application as IDisposable)?.Dispose();
    }

    public void Dispose()
    {
        _stop.Dispose();
        (application as IDisposable)?.Dispose();
    }

    private async Task LoopAsync(CancellationToken stop)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(stop, StopRequested);
        CancellationToken end = either.Token;
        try
        {
            await Task.Delay(options.InitialDelay, time, end);
            HealthPolicy.Memory memory = default;
            long begin = time.GetTimestamp(), next = begin;
            while (true)
            {
                string? envoys = envoy is null ? null : await envoy.CheckAsync(end);
                if (envoys is not null && State.Current is null && !_isBelieved && time.GetElapsedTime(begin) < EnvoysChance) { ProbeFailed(log, envoys); }
                else { memory = Judge(memory, envoys ?? await application.ProbeAsync(end)); }
                next = NextTick(next);
                await Task.Delay(time.GetElapsedTime(time.GetTimestamp(), next), time, end);
            }
        }
        catch (OperationCanceledException) when (end.IsCancellationRequested)
        {
            if (!_isLeaving) { SayGoodbye(); }
        }
        catch (Exception e)
        {
            _ended.SetException(e);
            throw;
        }
    }

    private HealthPolicy.Memory Judge(HealthPolicy.Memory memory, string? error)
    {
        if (error is null) { Probed(log); } else { ProbeFailed(log, error); }
        (HealthPolicy.Memory next, bool flipped) = _policy.After(memory, error is null);
        if (!flipped) { return next; }
        if (error is null) { Healthy(log); }
        else { Unhealthy(log, error); }
        Tell(new HealthState(error is null, error ?? ""));
        return next;
    }

    private void SayGoodbye()
    {
        if (State.Current is { Healthy: false }) { return; } // istiod sends nobody here anyway; before the first verdict it may, by what the agent before told it
        Leaving(log);
        Tell(new HealthState(Healthy: false, Goodbye) { IsLast = true });
    }

    private void Tell(HealthState state)
    {
        Marker?.Set(state.Healthy);
        State.Set(state);
    }

    /// <summary>A fixed ticker: ticks missed during a slow probe are dropped, not made up for.</summary>
    private long NextTick(long tick)
    {
        long period = (long)(options.Period.TotalSeconds * time.TimestampFrequency);
        long now = time.GetTimestamp();
        long next = tick + period;
        return next > now ? next : next + (now - next) / period * period + period;
    }

    [LoggerMessage(1, LogLevel.Information, "starting health check for health.AggregateProber in {Delay}")]
    private static partial void Starting(ILogger log, string delay);

    [LoggerMessage(4, LogLevel.Information, "reporting unhealthy: the agent is stopping, so no new connections are to come")]
    private static partial void Leaving(ILogger log);

    [LoggerMessage(2, LogLevel.Information, "success threshold hit, marking as healthy")]
    private static partial void Healthy(ILogger log);

    [LoggerMessage(5, LogLevel.Debug, "probe completed with healthy status")]
    private static partial void Probed(ILogger log);

    [LoggerMessage(6, LogLevel.Debug, "probe completed with unhealthy status: {Reason}")]
    private static partial void ProbeFailed(ILogger log, string reason);

    [LoggerMessage(3, LogLevel.Information, "failure threshold hit, marking as unhealthy: {Reason}")]
    private static partial void Unhealthy(ILogger log, string reason);
}
