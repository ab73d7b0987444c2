using Microsoft.Extensions.Logging;

using VmSidecar.Lifecycle;
using VmSidecar.Logging;
using VmSidecar.Metrics;

namespace VmSidecar.Status;

/// <summary>The latest readiness: null reason means ready.</summary>
/// <param name="Reason">Why not.</param>
/// <param name="Since">When it became so.</param>
internal sealed record ReadinessState(string? Reason, DateTimeOffset Since)
{
    public bool IsReady => Reason is null;
}

/// <summary>
/// Asks the readiness probe by itself, so that a VM, which nobody polls, still gets its "Envoy proxy is ready" line, its start-up
/// gauge and a state to publish. Logs changes only; while Envoy still comes up for the first time it says nothing.
/// </summary>
internal sealed partial class ReadinessWatch(ReadinessProbe probe, MetricRegistry metrics, DateTimeOffset processStart, TimeProvider time, ILogger log) : IComponent, IDisposable
{
    private static readonly TimeSpan FirstPeriod = TimeSpan.FromMilliseconds(50), LastPeriod = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10); // after which a sidecar that has never been ready says why
    private readonly Gauge _startup = metrics.Gauge("startup_duration_seconds", "The time from the process starting to being marked ready.");
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _loop = Task.CompletedTask;
    private bool _everReady;
    private bool _saidNotReady;

    public string Name => "readiness";

    public Task Completion => _ended.Task;

    /// <summary>The latest answer, from the first check on.</summary>
    public Published<ReadinessState> State { get; } = new();

    public Task StartAsync(CancellationToken startup)
    {
        _loop = LoopAsync(_stop.Token);
        return Task.CompletedTask;
    }

    public async Task StopAsync(CancellationToken hard)
    {
        await _stop.CancelAsync();
        await _loop.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // its fault is in Completion
    }

    public void Dispose() => _stop.Dispose();

    private async Task LoopAsync(CancellationToken stop)
    {
        TimeSpan period = FirstPeriod;
        try
        {
            while (true)
            {
                Note(await probe.CheckAsync(stop));
                period = _everReady ? LastPeriod : TimeSpan.FromTicks(Math.Min(LastPeriod.Ticks, period.Ticks * 5 / 4));
                await Task.Delay(period, time, stop);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { }
        catch (Exception e)
        {
            _ended.SetException(e);
            throw;
        }
    }

    private void Note(string? reason)
    {
        DateTimeOffset now = time.GetUtcNow();
        ReadinessState? before = State.Current;
        if (before is null || before.Reason != reason) { State.Set(new ReadinessState(reason, before is not null && before.IsReady == reason is null ? before.Since : now)); }
        if (reason is null) { NoteReady(now); }
        else if (!_saidNotReady && (_everReady || now - processStart >= Patience))
        {
            _saidNotReady = true;
            NotReady(log, reason);
        }
    }

    private void NoteReady(DateTimeOffset now)
    {
        bool first = !_everReady;
        if (first)
        {
            _everReady = true;
            _startup.Value = (now - processStart).TotalSeconds;
            Succeeded(log, GoDuration.Format(now - processStart));
        }
        if (first || _saidNotReady) { Ready(log); }
        _saidNotReady = false;
    }

    [LoggerMessage(1, LogLevel.Information, "Readiness succeeded in {Took}")]
    private static partial void Succeeded(ILogger log, string took);

    [LoggerMessage(2, LogLevel.Information, "Envoy proxy is ready")]
    private static partial void Ready(ILogger log);

    [LoggerMessage(3, LogLevel.Warning, "Envoy proxy is NOT ready: {Reason}")]
    private static partial void NotReady(ILogger log, string reason);
}
