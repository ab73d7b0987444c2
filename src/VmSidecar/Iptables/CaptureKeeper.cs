using Microsoft.Extensions.Logging;
using VmSidecar.Configuration;
using VmSidecar.Lifecycle;

namespace VmSidecar.Iptables;

/// <summary>
/// Capture rules of a daemon that runs outside systemd with <c>--capture</c>: what a crash left goes at start, rules go on when the agent serves, are looked
/// after while it runs, and come off before anything else stops. Last started, first stopped. After a SIGKILL of the daemon rules stay; the unit has no such gap.
/// </summary>
/// <param name="runner">Brings rules into the kernel and out.</param>
/// <param name="read">The options, read anew at each look: resolvers change.</param>
/// <param name="watch">How it looks after them, and what it does when Envoy stays dead.</param>
/// <param name="ready">Ends when the agent can serve what the rules send it.</param>
/// <param name="time">The clock.</param>
/// <param name="log">For the operator.</param>
internal sealed class CaptureKeeper(IptablesRunner runner, Func<CaptureOptions> read, CaptureWatchOptions watch, Func<CancellationToken, Task> ready, TimeProvider time, ILogger log) : IComponent, IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _loop = Task.CompletedTask;

    /// <summary>Whom the rules must let pass: this process and the Envoy it starts.</summary>
    public ProcessOwner Owner { get; init; } = ProcessOwner.Current();

    /// <summary>Whether somebody accepts on the outbound port; null: ask it.</summary>
    public Func<CancellationToken, Task<bool>>? IsServed { get; init; }

    public string Name => "capture";

    public Task Completion => _ended.Task;

    public async Task StartAsync(CancellationToken startup)
    {
        CaptureOptions options = read();
        if (options.CustomRules) { CaptureLog.Custom(log); return; }
        if (!options.ProxyUids.Contains(Owner.Uid) && !options.ProxyGids.Contains(Owner.Gid))
        {
            throw new FatalException("capture",
                $"the agent runs as uid {Owner.Uid} gid {Owner.Gid}, but the rules let pass only uid {string.Join(", ", options.ProxyUids)} and gid {string.Join(", ", options.ProxyGids)}: it would capture itself",
                $"Start it as root with the proxy's group: setpriv --regid {options.ProxyGids[0]} --clear-groups vmsidecar run --capture; or use the systemd unit");
        }
        await runner.CleanAsync(startup).ConfigureAwait(false);
        _loop = LoopAsync(_stop.Token);
    }

    public async Task StopAsync(CancellationToken hard)
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // its fault is in Completion
        try
        {
            if (await runner.CleanAsync(hard).ConfigureAwait(false)) { CaptureLog.TakenOff(log); }
        }
        catch (Exception e) when (e is FatalException or OperationCanceledException)
        {
            CaptureLog.Left(log, e.Message);
        }
    }

    public void Dispose() => _stop.Dispose();

    private async Task LoopAsync(CancellationToken stop)
    {
        try
        {
            await ready(stop).ConfigureAwait(false);
            await runner.ApplyAsync(read(), stop).ConfigureAwait(false);
            CaptureLog.PutOn(log);
            await new CaptureWatch(runner, read, watch, time, log) { IsServed = IsServed }.RunAsync(stop).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // asked to end
        }
        catch (Exception e)
        {
            _ended.SetException(e);
            throw;
        }
    }
}
