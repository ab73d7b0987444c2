using Microsoft.Extensions.Logging;

using VmSidecar.Lifecycle;
using VmSidecar.Linux;

namespace VmSidecar.Status;

/// <summary>
/// Pings systemd's watchdog three times per period, each time only after the agent has proved that it works. A failed proof is said once and not pinged
/// over: when it lasts, systemd ends the process and starts it anew. Does nothing without a watchdog. Owned by SidecarApp.
/// </summary>
/// <param name="systemd">Gets the pings, and says how long systemd is patient.</param>
/// <param name="check">The proof: null when all is well, otherwise what is not.</param>
/// <param name="time">The clock.</param>
/// <param name="log">Where a failed proof is said.</param>
internal sealed partial class SystemdWatchdog(SystemdNotify systemd, Func<CancellationToken, Task<string?>> check, TimeProvider time, ILogger log) : IComponent, IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _loop = Task.CompletedTask;

    public string Name => "watchdog";

    public Task Completion => _ended.Task;

    public Task StartAsync(CancellationToken startup)
    {
        if (systemd is { IsEnabled: true, WatchdogTimeout: { } timeout }) { _loop = PingAsync(timeout / 3, _stop.Token); }
        return Task.CompletedTask;
    }

    /// <summary>The stop is bounded by its own timeout; a last ping gives it a whole period.</summary>
    public async Task StopAsync(CancellationToken hard)
    {
        await _stop.CancelAsync();
        await _loop.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (systemd.WatchdogTimeout is not null) { systemd.Watchdog(); }
    }

    public void Dispose() => _stop.Dispose();

    private async Task PingAsync(TimeSpan pause, CancellationToken stop)
    {
        string? said = null;
        while (true)
        {
            string? problem = await check(stop);
            if (problem is null) { systemd.Watchdog(); }
            else if (said is null) { Unwell(log, problem); }
            said = problem;
            await Task.Delay(pause, time, stop);
        }
    }

    [LoggerMessage(1, LogLevel.Error, "this agent does not work properly ({Problem}); systemd's watchdog will restart it if that lasts")]
    private static partial void Unwell(ILogger log, string problem);
}
