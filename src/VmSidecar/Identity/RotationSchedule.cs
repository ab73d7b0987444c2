using VmSidecar.Configuration;

namespace VmSidecar.Identity;

/// <summary>
/// When the next operation is due, by the wall clock and by the monotonic one: a step back of the wall clock must not postpone a renewal, a
/// suspend (the monotonic clock stands still) must not either. The earlier of the two wins. Owned by CertificateRotator, used by its loop only.
/// </summary>
internal sealed class RotationSchedule(IdentityOptions options, TimeProvider time)
{
    private DateTimeOffset _renewAt = DateTimeOffset.MinValue;
    private TimeSpan _renewAfter;
    private long _since;
    private TimeSpan _retryAfter;

    /// <summary>Operations failed in a row.</summary>
    public int Failures { get; private set; }

    /// <summary>Wall-clock time of the next renewal.</summary>
    public DateTimeOffset RenewAt => _renewAt;

    /// <summary>A certificate was issued or loaded.</summary>
    public void Issued(WorkloadSecrets secrets)
    {
        TimeSpan after = RotationPolicy.RenewAfter(
            secrets.Created, secrets.NotAfter, options.GraceRatio, options.GraceJitter, Random.Shared.NextDouble(), Random.Shared.Next(2) == 0);
        _renewAt = secrets.Created + after;
        _renewAfter = _renewAt - time.GetUtcNow();
        _since = time.GetTimestamp();
        Failures = 0;
    }

    /// <summary>An operation failed.</summary>
    public void Failed()
    {
        Failures++;
        _retryAfter = RotationPolicy.Retry.After(Failures, Random.Shared.NextDouble());
        _since = time.GetTimestamp();
    }

    /// <summary>A credential has changed: do not sit out the back-off.</summary>
    public void RetryNow() => _retryAfter = TimeSpan.Zero;

    /// <summary>How long until the next operation; zero or less: now.</summary>
    public TimeSpan Due(WorkloadSecrets? held)
    {
        TimeSpan elapsed = time.GetElapsedTime(_since);
        if (Failures > 0) { return _retryAfter - elapsed; }
        if (held is null) { return TimeSpan.Zero; }
        TimeSpan wall = _renewAt - time.GetUtcNow();
        TimeSpan monotonic = _renewAfter - elapsed;
        return wall < monotonic ? wall : monotonic;
    }
}
