using VmSidecar.Lifecycle;

namespace VmSidecar.Envoy;

/// <summary>Decides when Envoy is started again. Pure. The first restart comes after a tenth of a second, because an outage is what callers notice; the delay then doubles up to ten seconds, and is forgiven after a minute of life.</summary>
internal static class RestartPolicy
{
    /// <summary>A process that lived this long was fine; its end is not part of an earlier series.</summary>
    public static readonly TimeSpan Stable = TimeSpan.FromSeconds(60);

    private static readonly Backoff Delays = new(TimeSpan.FromMilliseconds(100), TimeSpan.FromSeconds(10), Factor: 2, Jitter: 0.2);

    /// <summary>Failures in a row after a process that lived <paramref name="lived"/> has ended, and the delay before the next start.</summary>
    public static (int Failures, TimeSpan Delay) After(TimeSpan lived, int failuresBefore, double random)
    {
        int failures = lived >= Stable ? 1 : failuresBefore + 1;
        return (failures, Delays.After(failures, random));
    }
}
