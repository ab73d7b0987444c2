namespace VmSidecar.Configuration;

/// <summary>How <c>iptables watch</c> looks after the rules.</summary>
/// <param name="Interval">Between two looks.</param>
/// <param name="Repair">Put drifted rules right; else only say so.</param>
/// <param name="FailOpen">Lift capture while Envoy has been dead for longer than <paramref name="DeadLimit"/>; else traffic stays inside the mesh, whatever it costs.</param>
/// <param name="DeadLimit">How long Envoy may be away: longer than a restart with back-off takes.</param>
internal sealed record CaptureWatchOptions(TimeSpan Interval, bool Repair, bool FailOpen, TimeSpan DeadLimit)
{
    public static readonly CaptureWatchOptions Default = new(TimeSpan.FromSeconds(10), Repair: false, FailOpen: false, TimeSpan.FromSeconds(60));

    /// <summary>Looks every ten seconds, or as often as a shorter limit of capture that fails open asks for.</summary>
    public static CaptureWatchOptions For(bool repair, bool failOpen, TimeSpan deadLimit) =>
        new(failOpen && deadLimit < Default.Interval ? deadLimit : Default.Interval, repair, failOpen, deadLimit);
}
