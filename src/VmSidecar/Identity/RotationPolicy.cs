using VmSidecar.Lifecycle;

namespace VmSidecar.Identity;

/// <summary>Pure: when the next certificate is due. Randomness is an argument.</summary>
internal static class RotationPolicy
{
    /// <summary>Between failed operations: the classic agent's warm-up sequence.</summary>
    public static readonly Backoff Retry = new(TimeSpan.FromMilliseconds(500), TimeSpan.FromSeconds(60), 1.5, 0.5);

    /// <summary>No two successful issues come closer than this, so a grace ratio of 1 cannot loop as fast as the CA answers.</summary>
    public static readonly TimeSpan ShortestInterval = TimeSpan.FromSeconds(1);

    /// <summary>Longest sleep: after a suspend or a step of the clock the wall clock is looked at again within it.</summary>
    public static readonly TimeSpan LongestSleep = TimeSpan.FromMinutes(1);

    /// <summary>So long before its end a token that nothing stands in for is worth a warning.</summary>
    public static readonly TimeSpan TokenMargin = TimeSpan.FromMinutes(15);

    /// <summary>Certificates of somebody else's: no failure is seen here, so the same quarter of the lifetime alone decides.</summary>
    public static IdentityCondition MountedCondition(WorkloadSecrets? held, DateTimeOffset now) =>
        held is null ? IdentityCondition.None
        : held.NotAfter <= now ? IdentityCondition.Lapsed
        : held.NotAfter - now < (held.NotAfter - held.NotBefore) / 4 ? IdentityCondition.Lapsing
        : IdentityCondition.Good;

    /// <summary>How long after <paramref name="created"/> renewal begins: the lifetime less the grace share, which is offset by up to the jitter either way.</summary>
    public static TimeSpan RenewAfter(DateTimeOffset created, DateTimeOffset expires, double ratio, double jitter, double random, bool up)
    {
        TimeSpan lifetime = expires - created;
        if (lifetime <= TimeSpan.Zero) { return TimeSpan.Zero; }
        double share = Math.Clamp(ratio + (up ? jitter : -jitter) * random, 0, 1);
        TimeSpan after = lifetime - lifetime * share;
        return after < ShortestInterval ? ShortestInterval : after;
    }

    /// <summary>How bad it is: renewal failing is no alarm until a quarter of the lifetime is left.</summary>
    public static IdentityCondition Condition(WorkloadSecrets? current, int failures, DateTimeOffset now)
    {
        if (current is null) { return failures == 0 ? IdentityCondition.Waiting : IdentityCondition.None; }
        if (current.NotAfter <= now) { return IdentityCondition.Lapsed; }
        TimeSpan lifetime = current.NotAfter - current.Created;
        return failures > 0 && current.NotAfter - now < lifetime / 4 ? IdentityCondition.Lapsing : IdentityCondition.Good;
    }
}
