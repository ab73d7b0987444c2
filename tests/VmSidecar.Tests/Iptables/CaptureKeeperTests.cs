using Microsoft.Extensions.Logging.Abstractions;
using VmSidecar.Configuration;
using VmSidecar.Iptables;
using VmSidecar.Lifecycle;
using VmSidecar.TestKit;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>The daemon with <c>--capture</c>: rules follow its readiness, its end, and, where asked, Envoy's death.</summary>
public sealed class CaptureKeeperTests
{
    private static readonly CaptureWatchOptions s_watch = CaptureWatchOptions.Default with { Repair = true };

    [Fact]
    public async Task Leftovers_go_at_start_rules_come_when_ready_and_go_with_it()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await lab.Runner().ApplyAsync(CaptureLab.Options with { ProxyPort = 16001 }, CancellationToken.None); // of a run that was killed
        var time = new ManualTimeProvider();
        var ready = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using CaptureKeeper keeper = Make(lab, s_watch, ready.Task, time, () => true);
        await keeper.StartAsync(CancellationToken.None);
        Assert.DoesNotContain("vmsidecar:", await lab.SaveAsync(), StringComparison.Ordinal);
        ready.SetResult();
        await IntervalAsync(time);
        Assert.Empty((await lab.Runner().DiffAsync(CaptureLab.Options, CancellationToken.None)).Tables);
        await lab.Vm.RunAsync("iptables-nft -t nat -F");
        time.Advance(s_watch.Interval);
        await IntervalAsync(time);
        Assert.Empty((await lab.Runner().DiffAsync(CaptureLab.Options, CancellationToken.None)).Tables);
        await keeper.StopAsync(CancellationToken.None);
        Assert.DoesNotContain("vmsidecar:", await lab.SaveAsync(), StringComparison.Ordinal);
        Assert.False(keeper.Completion.IsFaulted);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task When_Envoy_stays_dead_open_lifts_capture_until_it_is_back_and_closed_does_not(bool open)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        var time = new ManualTimeProvider();
        bool served = true;
        CaptureWatchOptions watch = s_watch with { FailOpen = open };
        using CaptureKeeper keeper = Make(lab, watch, Task.CompletedTask, time, () => Volatile.Read(ref served));
        await keeper.StartAsync(CancellationToken.None);
        await IntervalAsync(time);
        Volatile.Write(ref served, false);
        for (TimeSpan gone = TimeSpan.Zero; gone <= watch.DeadLimit + watch.Interval; gone += watch.Interval) { time.Advance(watch.Interval); await IntervalAsync(time); }
        Assert.Equal(!open, (await lab.SaveAsync()).Contains("vmsidecar:", StringComparison.Ordinal));
        Volatile.Write(ref served, true);
        time.Advance(watch.Interval);
        await IntervalAsync(time);
        Assert.Empty((await lab.Runner().DiffAsync(CaptureLab.Options, CancellationToken.None)).Tables);
        await keeper.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task An_agent_that_its_own_rules_would_capture_is_refused_before_anything_changes()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        using var keeper = new CaptureKeeper(lab.Runner(), () => CaptureLab.Options, s_watch, _ => Task.CompletedTask, TimeProvider.System, NullLogger.Instance) { Owner = new(0, 0) };
        FatalException refusal = await Assert.ThrowsAsync<FatalException>(() => keeper.StartAsync(CancellationToken.None));
        Assert.Contains("runs as uid 0 gid 0, but the rules let pass only uid 113 and gid 113", refusal.Problem, StringComparison.Ordinal);
        Assert.Contains("setpriv --regid 113", refusal.Fix, StringComparison.Ordinal);
    }

    private static CaptureKeeper Make(CaptureLab lab, CaptureWatchOptions watch, Task ready, TimeProvider time, Func<bool> served) =>
        new(lab.Runner(), () => CaptureLab.Options, watch, stop => ready.WaitAsync(stop), time, NullLogger.Instance) { Owner = new(0, CaptureLab.ProxyGroup), IsServed = _ => Task.FromResult(served()) };

    private static async Task IntervalAsync(ManualTimeProvider time)
    {
        while (await time.NextTimerAsync(Test.Deadline) != s_watch.Interval) { }
    }
}
