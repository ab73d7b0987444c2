using Microsoft.Extensions.Logging;

namespace VmSidecar.Xds;

/// <summary>
/// Decides, at boot only, whether Envoy is served from kept resources: istiod has not answered on any stream since the start, a few
/// seconds have passed, and what is kept is young enough. Ends for good with istiod's first answer. Owned by <see cref="XdsProxy"/>.
/// </summary>
internal sealed class OfflineStart(ResourceKeeper keeper, TimeSpan maxAge, TimeProvider time, ILogger log)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(3); // a healthy istiod answers in tens of milliseconds; a booting network takes a second or two

    private readonly TaskCompletionSource _reached = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new(); // guards the fields below
    private OfflineResources? _kept;
    private bool _loaded;
    private long _begin;

    /// <summary>Ends when istiod has answered.</summary>
    public Task Reached => _reached.Task;

    /// <summary>When istiod was last known to stand behind what Envoy is served now; null: Envoy is not served from the disk.</summary>
    public DateTimeOffset? ServingFrom { get; private set; }

    /// <summary>The clock of patience starts.</summary>
    public void Begin() => _begin = time.GetTimestamp();

    /// <summary>istiod has answered on a stream.</summary>
    public void IsReached()
    {
        if (!_reached.TrySetResult() || ServingFrom is null) { return; }
        XdsLog.BackOnline(log);
    }

    /// <summary>What could be served; null once istiod has answered, or when there is nothing usable.</summary>
    public OfflineResources? Candidate
    {
        get
        {
            if (Reached.IsCompleted || maxAge <= TimeSpan.Zero) { return null; }
            lock (_gate)
            {
                if (!_loaded) { _kept = keeper.Load(maxAge); }
                _loaded = true;
                return _kept is not null && Left(_kept) > TimeSpan.Zero ? _kept : null;
            }
        }
    }

    /// <summary>How long istiod may still take; zero: serve from the disk now.</summary>
    public TimeSpan Remaining => Patience > time.GetElapsedTime(_begin) ? Patience - time.GetElapsedTime(_begin) : TimeSpan.Zero;

    /// <summary>How long these resources may still be served.</summary>
    public TimeSpan Left(OfflineResources kept) => kept.Seen + maxAge - time.GetUtcNow();

    /// <summary>Envoy begins to be served from these.</summary>
    public void Serving(OfflineResources kept)
    {
        if (ServingFrom is null) { XdsLog.Offline(log, kept.Seen.ToString("O", System.Globalization.CultureInfo.InvariantCulture), $"{(time.GetUtcNow() - kept.Seen).TotalMinutes:0}"); }
        ServingFrom = kept.Seen;
    }

    /// <summary>Envoy is no longer served from the disk.</summary>
    public void Ended() => ServingFrom = null;
}
