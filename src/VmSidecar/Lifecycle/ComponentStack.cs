using Microsoft.Extensions.Logging;

namespace VmSidecar.Lifecycle;

/// <summary>
/// Starts components in order and stops them in reverse. Rules: single use; a component is pushed before its start is
/// awaited, so a half-started one is stopped too; each Completion is watched and the first fault is the cause; stops run
/// one after another inside one budget, and one that overruns is abandoned with a warning; the cause chooses the exit code.
/// </summary>
internal sealed partial class ComponentStack(TimeSpan budget, TimeProvider time, ILogger log) : IAsyncDisposable
{
    private readonly Stack<IComponent> _started = new();
    private readonly TaskCompletionSource<(IComponent Who, Exception? Fault)> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _hard = new();
    private readonly TaskCompletionSource _leaving = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _mayLeave = true;
    private bool _stopped;

    /// <summary>Starts one component; its later end ends <see cref="WaitForEndAsync"/>.</summary>
    public async Task StartAsync(IComponent component, CancellationToken startup)
    {
        long begin = time.GetTimestamp();
        _started.Push(component);
        await component.StartAsync(startup);
        Watch(component);
        Started(log, component.Name, Elapsed(begin));
    }

    /// <summary>A second stop request: what still runs is cut short. Comes from a signal, so at any time, also when all has ended.</summary>
    public void Hurry()
    {
        try { _hard.Cancel(); }
        catch (ObjectDisposedException) { }
    }

    /// <summary>Another program takes this one's place: ends <see cref="WaitForEndAsync"/>, which lets the components leave instead of stopping them.</summary>
    public void Leave() => _leaving.TrySetResult();

    /// <summary>Waits for the stop request or the first component that ends, then stops everything.</summary>
    public async Task<ExitCode> WaitForEndAsync(CancellationToken stopRequested)
    {
        try
        {
            await Task.WhenAny(_ended.Task, _leaving.Task).WaitAsync(stopRequested);
            if (!_ended.Task.IsCompleted) { return ExitCode.Stopped; }
            (IComponent who, Exception? fault) = await _ended.Task;
            _mayLeave = false;
            return Explain(who.Name, fault);
        }
        catch (OperationCanceledException) when (stopRequested.IsCancellationRequested)
        {
            _mayLeave = false;
            return ExitCode.Stopped;
        }
        finally
        {
            await StopAllAsync();
        }
    }

    /// <summary>The components have left, and nothing else ended the wait.</summary>
    public bool HasLeft => _mayLeave && _leaving.Task.IsCompleted && _stopped;

    /// <summary>Logs why a component failed and turns it into the exit code.</summary>
    public ExitCode Explain(string component, Exception? fault)
    {
        switch (fault)
        {
            case null:
                ComponentEnded(log, component);
                return ExitCode.Fatal;
            case FatalException fatal:
                FatalEnd(log, fatal.Component, fatal.Problem, fatal.Fix);
                return ExitCode.Fatal;
            default:
                Bug(log, fault, component);
                return ExitCode.Bug;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await StopAllAsync();
        _hard.Dispose();
    }

    private async Task StopAllAsync()
    {
        if (_stopped) { return; }
        _stopped = true;
        using var timer = new CancellationTokenSource(budget, time);
        using var hard = CancellationTokenSource.CreateLinkedTokenSource(timer.Token, _hard.Token);
        while (_started.TryPop(out IComponent? component))
        {
            await StopOneAsync(component, hard.Token);
        }
    }

    [SuppressMessage("Design", "CA1031", Justification = "a stop that throws is a bug, but the components below it must still be stopped")]
    private async Task StopOneAsync(IComponent component, CancellationToken hard)
    {
        long begin = time.GetTimestamp();
        try
        {
            Task stop = _mayLeave && _leaving.Task.IsCompleted && component is IReplaceable replaceable ? replaceable.LeaveAsync(hard) : component.StopAsync(hard);
            await Task.WhenAny(stop, OverrunAsync(hard));
            if (!stop.IsCompleted) { Abandoned(log, component.Name, Elapsed(begin)); return; }
            await stop;
            Stopped(log, component.Name, Elapsed(begin));
        }
        catch (Exception e)
        {
            StopFailed(log, e, component.Name);
        }
    }

    /// <summary>Ends two seconds after the hard token: a component that ignores it is not waited for.</summary>
    private async Task OverrunAsync(CancellationToken hard)
    {
        var fired = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using (hard.Register(() => fired.TrySetResult()))
        {
            await fired.Task;
        }
        await Task.Delay(TimeSpan.FromSeconds(2), time, CancellationToken.None);
    }

    private void Watch(IComponent component) => _ = component.Completion.ContinueWith(
        done => _ended.TrySetResult((component, done.Exception?.InnerException)),
        CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);

    private long Elapsed(long begin) => (long)time.GetElapsedTime(begin).TotalMilliseconds;

    [LoggerMessage(1, LogLevel.Debug, "started {Component} in {Milliseconds} ms")]
    private static partial void Started(ILogger log, string component, long milliseconds);

    [LoggerMessage(2, LogLevel.Debug, "stopped {Component} in {Milliseconds} ms")]
    private static partial void Stopped(ILogger log, string component, long milliseconds);

    [LoggerMessage(3, LogLevel.Warning, "{Component} did not stop within {Milliseconds} ms; going on without it")]
    private static partial void Abandoned(ILogger log, string component, long milliseconds);

    [LoggerMessage(4, LogLevel.Error, "{Component} failed while stopping")]
    private static partial void StopFailed(ILogger log, Exception e, string component);

    [LoggerMessage(5, LogLevel.Critical, "{Component}: {Problem}. {Fix}")]
    private static partial void FatalEnd(ILogger log, string component, string problem, string fix);

    [LoggerMessage(6, LogLevel.Critical, "{Component} ended by itself; stopping")]
    private static partial void ComponentEnded(ILogger log, string component);

    [LoggerMessage(7, LogLevel.Critical, "{Component} failed; this is a bug of vmsidecar")]
    private static partial void Bug(ILogger log, Exception? e, string component);
}
