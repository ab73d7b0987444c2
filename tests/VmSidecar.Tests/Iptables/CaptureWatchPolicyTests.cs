using VmSidecar.Configuration;
using VmSidecar.Iptables;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>Each change is acted on once, and capture is lifted only when asked and only after the limit.</summary>
public sealed class CaptureWatchPolicyTests
{
    private static readonly DateTimeOffset s_start = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    [Fact]
    public void A_drift_is_said_once_and_its_end_once()
    {
        var policy = new CaptureWatchPolicy(CaptureWatchOptions.Default);
        Assert.Equal(
            [CaptureAct.None, CaptureAct.Alarm, CaptureAct.None, CaptureAct.Settled, CaptureAct.None, CaptureAct.Alarm],
            new[] { false, true, true, false, false, true }.Select((d, i) => policy.Decide(d, served: true, s_start.AddSeconds(10 * i))));
    }

    [Fact]
    public void With_repair_every_drift_is_put_right()
    {
        var policy = new CaptureWatchPolicy(CaptureWatchOptions.Default with { Repair = true });
        Assert.Equal([CaptureAct.Repair, CaptureAct.None, CaptureAct.Repair], new[] { true, false, true }.Select(d => policy.Decide(d, served: true, s_start)));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Rules_that_are_off_while_nobody_serves_are_no_drift(bool repair)
    {
        var policy = new CaptureWatchPolicy(CaptureWatchOptions.Default with { Repair = repair });
        Assert.Equal(CaptureAct.None, policy.Decide(drifted: true, served: false, s_start));
        Assert.Equal(repair ? CaptureAct.Repair : CaptureAct.Alarm, policy.Decide(drifted: true, served: true, s_start.AddSeconds(10)));
    }

    [Fact]
    public void Closed_never_lifts()
    {
        var policy = new CaptureWatchPolicy(CaptureWatchOptions.Default);
        for (int i = 0; i < 1000; i++) { Assert.Equal(CaptureAct.None, policy.Decide(drifted: false, served: false, s_start.AddMinutes(i))); }
    }

    [Fact]
    public void Open_lifts_after_the_limit_and_restores_when_Envoy_is_back()
    {
        var policy = new CaptureWatchPolicy(CaptureWatchOptions.Default with { FailOpen = true, Repair = true });
        Assert.Equal(CaptureAct.None, policy.Decide(false, served: false, s_start));
        Assert.Equal(CaptureAct.None, policy.Decide(false, served: true, s_start.AddSeconds(50))); // back in time: the clock starts anew
        Assert.Equal(CaptureAct.None, policy.Decide(false, served: false, s_start.AddSeconds(55)));
        Assert.Equal(CaptureAct.None, policy.Decide(false, served: false, s_start.AddSeconds(114)));
        Assert.Equal(CaptureAct.Lift, policy.Decide(false, served: false, s_start.AddSeconds(115)));
        policy.Done();
        Assert.Equal(CaptureAct.None, policy.Decide(true, served: false, s_start.AddSeconds(125))); // our own doing is no drift
        Assert.Equal(CaptureAct.Restore, policy.Decide(true, served: true, s_start.AddSeconds(135)));
        policy.Done();
        Assert.Equal(CaptureAct.None, policy.Decide(false, served: true, s_start.AddSeconds(145)));
    }

    [Fact]
    public void A_lift_and_a_restore_that_fail_are_tried_again_and_announced_once()
    {
        var policy = new CaptureWatchPolicy(CaptureWatchOptions.Default with { FailOpen = true });
        int second = 0;
        (CaptureAct Act, bool IsAgain) Look(bool served, bool fails = false)
        {
            CaptureAct act = policy.Decide(drifted: second > 60, served, s_start.AddSeconds(second += 10));
            bool again = policy.IsAgain;
            if (!fails) { policy.Done(); }
            return (act, again);
        }
        for (int i = 0; i < 6; i++) { Assert.Equal(CaptureAct.None, Look(served: false).Act); }
        Assert.Equal((CaptureAct.Lift, false), Look(served: false, fails: true)); // iptables' lock is held, the disk is full
        Assert.Equal((CaptureAct.Lift, true), Look(served: false, fails: true));
        Assert.Equal((CaptureAct.Lift, true), Look(served: false));
        Assert.Equal((CaptureAct.None, false), Look(served: false));
        Assert.Equal((CaptureAct.Restore, false), Look(served: true, fails: true));
        Assert.Equal((CaptureAct.Restore, true), Look(served: true));
        Assert.Equal((CaptureAct.Alarm, false), Look(served: true)); // watched as ever
    }

    [Fact]
    public void A_lift_that_failed_half_way_is_undone_when_Envoy_is_back()
    {
        var policy = new CaptureWatchPolicy(CaptureWatchOptions.Default with { FailOpen = true });
        policy.Decide(drifted: false, served: false, s_start);
        Assert.Equal(CaptureAct.Lift, policy.Decide(drifted: false, served: false, s_start.AddMinutes(1)));
        Assert.Equal(CaptureAct.Restore, policy.Decide(drifted: true, served: true, s_start.AddMinutes(2)));
    }

    [Fact]
    public void Repairs_in_a_row_are_counted_and_a_good_look_ends_the_row()
    {
        var policy = new CaptureWatchPolicy(CaptureWatchOptions.Default with { Repair = true });
        var counts = new List<int>();
        foreach (bool drifted in new[] { true, true, true, false, true }) { policy.Decide(drifted, served: true, s_start); counts.Add(policy.Repairs); }
        Assert.Equal([1, 2, 3, 0, 1], counts);
    }

    [Fact]
    public void The_same_trouble_is_new_again_only_after_a_look_without_any()
    {
        var policy = new CaptureWatchPolicy(CaptureWatchOptions.Default with { Repair = true });
        bool Look(string? trouble)
        {
            policy.Decide(drifted: true, served: true, s_start); // the look goes well, the repair may not
            if (trouble is null) { policy.Done(); return false; }
            return policy.IsNewTrouble(trouble);
        }
        Assert.Equal([true, false, true, false, true], new[] { "locked", "locked", "full", null, "full" }.Select(Look));
    }
}
