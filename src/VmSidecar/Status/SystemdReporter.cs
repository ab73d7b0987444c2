using VmSidecar.Lifecycle;
using VmSidecar.Linux;

namespace VmSidecar.Status;

/// <summary>
/// Tells systemd how the service is: READY=1 once it can serve, or after a bounded grace with a degraded status, so that a boot never hangs
/// on the mesh; STATUS= when it is another, and once a minute; STOPPING=1 at the stop. Owned by SidecarApp, started last, stopped first.
/// </summary>
internal sealed class SystemdReporter(SystemdNotify systemd, Published<ReadinessState> readiness, Func<string> detail, TimeSpan stopBudget, TimeProvider time) : IComponent, IReplaceable, IDisposable
{
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(60); // below TimeoutStartSec of the unit
    private static readonly TimeSpan Refresh = TimeSpan.FromMinutes(1); // the detail changes without a change of readiness
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _loop = Task.CompletedTask;

    public string Name => "systemd";

    /// <summary>Gives a task that ends when the detail is another; null: it is only asked for once a minute, and when readiness changes.</summary>
    public Func<Task>? DetailChanged { get; init; }

    public Task Completion => _ended.Task;

    public Task StartAsync(CancellationToken startup)
    {
        if (systemd.IsEnabled) { _loop = ReportAsync(_stop.Token); }
        return Task.CompletedTask;
    }

    public Task StopAsync(CancellationToken hard)
    {
        systemd.Stopping("stopping: draining Envoy", stopBudget + TimeSpan.FromSeconds(5));
        return EndAsync();
    }

    public Task LeaveAsync(CancellationToken hard)
    {
        systemd.Status("being replaced in place; Envoy goes on");
        return EndAsync();
    }

    private async Task EndAsync()
    {
        await _stop.CancelAsync();
        await _loop.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    public void Dispose() => _stop.Dispose();

    private async Task ReportAsync(CancellationToken stop)
    {
        Task grace = Task.Delay(Grace, time, stop);
        bool told = false, due = true;
        string last = "";
        while (true)
        {
            (ReadinessState? state, Task changed) = readiness.Watch();
            Task detailChanged = DetailChanged?.Invoke() ?? changed;
            string status = $"{(state is null ? "starting" : state.IsReady ? "ready" : $"degraded: {state.Reason}")}; {detail()}";
            if (!told && (state is { IsReady: true } || grace.IsCompleted))
            {
                systemd.Ready(status);
                told = true;
            }
            else if (due || status != last) { systemd.Status(status); }
            last = status;
            using var next = CancellationTokenSource.CreateLinkedTokenSource(stop);
            Task refresh = told ? Task.Delay(Refresh, time, next.Token) : grace;
            due = await Task.WhenAny(changed, detailChanged, refresh).WaitAsync(stop) == refresh;
            await next.CancelAsync();
        }
    }
}
