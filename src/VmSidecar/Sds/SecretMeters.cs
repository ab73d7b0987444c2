using VmSidecar.Metrics;

namespace VmSidecar.Sds;

/// <summary>Counts of the SDS server: the classic agent's names, and our own for what it does not count.</summary>
internal sealed class SecretMeters
{
    private int _streams;

    public SecretMeters(MetricRegistry metrics)
    {
        Rejects = metrics.Counter("pilot_total_xds_rejects", "Secrets Envoy refused.", "type=\"sds\"");
        ExpiredNonces = metrics.Counter("pilot_xds_expired_nonce", "Requests with an old nonce.", "type=\"sds\"");
        Requests = metrics.Counter("sds_requests", "Requests read by SDS.");
        Pushes = metrics.Counter("sds_pushes", "Responses sent by SDS.");
        FileFailures = metrics.Counter("num_file_secret_failures_total", "Readings of certificate files that failed.");
        WatcherFailures = metrics.Counter("num_file_watcher_failures_total", "Folders of certificate files that could not be watched; they are looked at every half minute instead.");
        RefusedPeers = metrics.Counter("sds_refused_peers", "Connections of users that VMSIDECAR_SDS_PEERS does not name.");
        metrics.Observe("sds_streams", "SDS streams open now.", () => Streams);
    }

    public Counter Rejects { get; }

    public Counter ExpiredNonces { get; }

    /// <summary>Counted when a request has been acted on.</summary>
    public Counter Requests { get; }

    public Counter Pushes { get; }

    public Counter FileFailures { get; }

    public Counter WatcherFailures { get; }

    public Counter RefusedPeers { get; }

    /// <summary>Streams open now.</summary>
    public int Streams => Volatile.Read(ref _streams);

    public void Opened() => Interlocked.Increment(ref _streams);

    public void Closed() => Interlocked.Decrement(ref _streams);
}
