using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Processes;
using VmSidecar.Metrics;

namespace VmSidecar.Envoy;

/// <summary>What the supervisor works with, apart from the options.</summary>
/// <param name="Renderer">Writes the bootstrap.</param>
/// <param name="Admin">Envoy's admin port.</param>
/// <param name="Sink">Envoy's output goes here.</param>
/// <param name="Metrics">The agent's metrics.</param>
internal sealed record EnvoyParts(IEnvoyRenderer Renderer, EnvoyAdmin Admin, EnvoyLineSink Sink, MetricRegistry Metrics)
{
    /// <summary>The thread that starts Envoy; null: one of its own, and Envoy cannot be left to another agent.</summary>
    public OwnerThread? Owner { get; init; }

    /// <summary>The Envoy that the agent before this one in the process has left running; null: none.</summary>
    public EnvoyEstate? Estate { get; init; }
}

/// <summary>
/// Keeps one Envoy running. Stages: 1 render → 2 spawn → 3 watch → 4 drain → terminate → kill (EnvoyDrain). An Envoy that ends unasked is started
/// again in place with back-off; the agent, its DNS and the capture rules stay. A missing executable is retried too: it may be
/// installed later. Owned by SidecarApp.
/// </summary>
internal sealed partial class EnvoySupervisor(EnvoyOptions options, EnvoyParts parts, TimeProvider time, ILogger log) : IComponent, IReplaceable, IDisposable
{
    private readonly Published<EnvoyState> _state = new(parts.Estate is { } left // who asks before it is adopted hears what is so
        ? new EnvoyState(EnvoyPhase.Running, left.Process.Id, left.Starts, left.Since, null) { Version = left.Version }
        : new EnvoyState(EnvoyPhase.Idle, 0, 0, time.GetUtcNow(), null));
    private readonly EnvoyDrain _drain = new(options, parts.Admin, time, log);
    private readonly ExitReporter _exits = new(time, log);
    private readonly EnvoyMetrics _metrics = new(parts.Metrics);
    private readonly EnvoyLogPump _pump = new(parts.Sink, parts.Metrics, log);
    private readonly EnvoyHandover _handover = new(options, parts, time, log);
    private readonly CancellationTokenSource _stop = new();
    private volatile TaskCompletionSource _restart = new(TaskCreationOptions.RunContinuationsAsynchronously); // one per Envoy
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private CancellationToken _hard;
    private Task _loop = Task.CompletedTask;
    private string? _setpriv;
    private string? _lastProblem;
    private string? _version;
    private int _failures;

    public string Name => "envoy";

    public Task Completion => _ended.Task;

    /// <summary>Where Envoy is; readers see the latest.</summary>
    public Published<EnvoyState> State => _state;

    /// <summary>The drain, for the status server's <c>/drain</c> and <c>/quitquitquit</c>.</summary>
    public EnvoyDrain Drain => _drain;

    /// <summary>
    /// The running Envoy was started with a bootstrap that cannot work (a protocol istiod does not speak): ends it and starts one with a new bootstrap. A
    /// second call for the same Envoy does nothing, and neither does one where the bootstrap is the user's own, which would be the same again.
    /// </summary>
    public void StartAnew(string why)
    {
        if (_state.Current is not { Phase: EnvoyPhase.Running } || !_restart.TrySetResult()) { return; }
        if (options.CustomConfigFile is { } own) { EnvoyLog.OwnBootstrap(log, why, own); } else { EnvoyLog.StartingAnew(log, why); }
    }

    public async Task StartAsync(CancellationToken startup)
    {
        if (!options.Enabled) { return; }
        if (parts.Estate is null) { EnvoyLog.Starting(log); }
        _setpriv = await ParentDeath.FindAsync();
        if (!Adopt()) { await OrphanSweep.RunAsync(options, time, log, startup); }
        _loop = LoopAsync(_stop.Token);
    }

    public async Task StopAsync(CancellationToken hard)
    {
        _hard = hard;
        await _unbound.CancelAsync();
        await _stop.CancelAsync();
        await _loop.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // its fault is in Completion
        await _pump.DisposeAsync();
        Publish(EnvoyPhase.Stopped, 0);
        Dispose();
    }

    public void Dispose()
    {
        _stop.Dispose();
        _unbound.Dispose();
    }

    private async Task LoopAsync(CancellationToken stop)
    {
        try
        {
            while (true)
            {
                EnvoyProcess? envoy = await AdoptedAsync(stop) ?? await TryStartAsync(stop);
                TimeSpan delay = envoy is null ? NextTry() : await WatchAsync(envoy, stop);
                if (_leaving.Task.IsCompleted) { return; }
                await Task.Delay(delay, time, _unbound.Token);
            }
        }
        catch (OperationCanceledException) when (_unbound.IsCancellationRequested) { }
        catch (Exception e)
        {
            _ended.SetException(e);
            throw;
        }
    }

    /// <summary>Stages 1 and 2. Null when there is nothing to run now; the reason has been said then.</summary>
    private async Task<EnvoyProcess?> TryStartAsync(CancellationToken stop)
    {
        (EnvoyCommand? command, string? problem) = await parts.Renderer.RenderAsync(stop);
        if (command is null) { return CannotStart(problem!); }
        if (_failures <= 1) { EnvoyLog.Command(log, string.Join(' ', command.Arguments)); }
        try
        {
            _epoch = 0;
            return await SpawnAsync(command, takesPlace: true);
        }
        catch (ChildStartException e)
        {
            return CannotStart(e.Message);
        }
    }

    /// <summary>Starts a process. One that takes its place at once is published before its first line is read.</summary>
    private async Task<EnvoyProcess> SpawnAsync(EnvoyCommand command, bool takesPlace)
    {
        var child = new ChildCommand(command.Binary, command.Arguments, ChildEnvironment.With(command.Environment));
        ChildProcess process = await ChildProcess.StartAsync(ParentDeath.Wrap(child, _setpriv), parts.Owner);
        _metrics.Started();
        if (takesPlace) { TookPlace(process.Id, command); }
        var words = new LastWords();
        return new EnvoyProcess(process, words, _pump.Attach(process, words)) { Inputs = command.Inputs };
    }

    /// <summary>From now on this is the Envoy that counts.</summary>
    private void TookPlace(int process, EnvoyCommand command)
    {
        _lastProblem = null;
        _restart = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        if (command.Version is { } version && version != _version) { EnvoyLog.Version(log, version, command.Binary); }
        _version = command.Version;
        Publish(EnvoyPhase.Running, process, starts: 1);
    }

    /// <summary>Stage 3, and 4 when asked to stop. Returns the delay before the next start.</summary>
    private async Task<TimeSpan> WatchAsync(EnvoyProcess envoy, CancellationToken stop)
    {
        long begin = time.GetTimestamp();
        using var settled = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Task recovery = AnnounceRecoveryAsync(settled.Token);
        try
        {
            bool anew;
            (envoy, anew) = await ServeAsync(envoy, settled.Token);
            if (_leaving.Task.IsCompleted) { return await PartAsync(envoy); }
            if (anew) { await _drain.EndAsync(envoy); }
            ChildExit exit = await envoy.Exited;
            await envoy.DrainOutputAsync(time);
            if (anew) { return TimeSpan.Zero; }
            return Ended(envoy, exit, time.GetElapsedTime(begin));
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            Publish(EnvoyPhase.Draining, envoy.Id);
            long drainBegin = time.GetTimestamp();
            await _drain.RunAsync(envoy, _hard);
            _metrics.Drained(time.GetElapsedTime(drainBegin));
            await envoy.DrainOutputAsync(time);
            throw;
        }
        finally
        {
            _metrics.Stopped();
            await settled.CancelAsync();
            await recovery;
            if (_left is null) { await EndRetiringAsync(); }
        }
    }

    /// <summary>Until the Envoy ends or must be started anew; which one that is changes with each hand-over.</summary>
    private async Task<(EnvoyProcess Envoy, bool Anew)> ServeAsync(EnvoyProcess envoy, CancellationToken stop)
    {
        while (true)
        {
            using var watching = CancellationTokenSource.CreateLinkedTokenSource(stop);
            Task<EnvoyCommand> changed = _handover.NextAsync(_epoch + 1, envoy.Inputs, watching.Token);
            Task anew = Anew(), first = await Task.WhenAny(envoy.Exited, anew, changed, _leaving.Task).WaitAsync(stop);
            await watching.CancelAsync();
            if (first != changed || _leaving.Task.IsCompleted)
            {
                await ((Task)changed).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // cancelled above
                return (envoy, Anew: first == anew);
            }
            envoy = await HandOverAsync(envoy, await changed, stop);
        }
    }

    private Task Anew() => options.CustomConfigFile is null ? _restart.Task : Task.Delay(Timeout.InfiniteTimeSpan, time, _stop.Token);

    private TimeSpan Ended(EnvoyProcess envoy, ChildExit exit, TimeSpan lived)
    {
        (_failures, TimeSpan delay) = RestartPolicy.After(lived, _failures, Random.Shared.NextDouble());
        _metrics.Restarted(exit);
        _exits.Ended(exit, lived, envoy.Words, _failures, delay);
        Publish(EnvoyPhase.BackingOff, 0, lastExit: $"{exit}. {envoy.Words.Explain()}");
        return delay;
    }

    private async Task AnnounceRecoveryAsync(CancellationToken ended)
    {
        if (_failures < 2) { return; }
        try
        {
            await Task.Delay(RestartPolicy.Stable, time, ended);
            EnvoyLog.Recovered(log, _failures);
            _failures = 0;
        }
        catch (OperationCanceledException) when (ended.IsCancellationRequested) { }
    }

    private EnvoyProcess? CannotStart(string problem)
    {
        if (problem != _lastProblem) { EnvoyLog.CannotStart(log, problem); }
        _lastProblem = problem;
        if (_state.Current is not { Phase: EnvoyPhase.Missing }) { Publish(EnvoyPhase.Missing, 0, lastExit: problem); }
        return null;
    }

    private TimeSpan NextTry()
    {
        (_failures, TimeSpan delay) = RestartPolicy.After(TimeSpan.Zero, _failures, Random.Shared.NextDouble());
        return delay;
    }

    private void Publish(EnvoyPhase phase, int process, int starts = 0, string? lastExit = null)
    {
        EnvoyState before = _state.Current!;
        _state.Set(new EnvoyState(phase, process, before.Starts + starts, time.GetUtcNow(), lastExit ?? before.LastExit) { Version = _version });
    }
}
