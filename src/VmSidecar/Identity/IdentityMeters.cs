using VmSidecar.Lifecycle;
using VmSidecar.Metrics;

namespace VmSidecar.Identity;

/// <summary>Gauges over the identity, read when scraped. Names of the classic agent first, then our own.</summary>
internal sealed class IdentityMeters
{
    private readonly Gauge _clock;

    public IdentityMeters(Instruments use, Published<WorkloadSecrets> secrets, Published<IdentityStatus> status)
    {
        use.Metrics.Observe(
            "cert_expiry_seconds",
            "Seconds until the workload certificate ends; negative when it has.",
            () => secrets.Current is { } held ? (held.NotAfter - use.Time.GetUtcNow()).TotalSeconds : double.NaN,
            "resource_name=\"default\"");
        use.Metrics.Observe(
            "token_expiry_seconds",
            "Seconds until the token on disk ends; negative when it has.",
            () => status.Current?.TokenUntil is { } until ? (until - use.Time.GetUtcNow()).TotalSeconds : double.NaN);
        use.Metrics.Observe("identity_condition", "0 good, 1 waiting, 2 none, 3 lapsing, 4 lapsed.", () => (double)(status.Current?.Condition ?? IdentityCondition.Waiting));
        use.Metrics.Observe("signing_failures_in_a_row", "Signing operations failed since the last good one.", () => status.Current?.Failures ?? 0);
        _clock = use.Metrics.Gauge("clock_offset_seconds", "How far this clock is off istiod's at least; 0 when it cannot be told.");
    }

    /// <summary>Sets what the last certificate said about the clock.</summary>
    public void SetClock(TimeSpan offset) => _clock.Value = offset.TotalSeconds;
}
