using VmSidecar.Lifecycle;

namespace VmSidecar.Envoy;

/// <summary>
/// Asks Envoy whether it has its configuration and serves. What has been true once for a process is not asked again (Envoy's main
/// thread is busy during pushes), but it is forgotten with the process: a restarted Envoy proves itself anew.
/// One per asker; not thread-safe.
/// </summary>
internal sealed class EnvoyReadiness(EnvoyAdmin admin, Published<EnvoyState>? state)
{
    private const string Updates = @"/stats?usedonly&filter=^(cluster_manager\.cds|listener_manager\.lds)\.(update_success|update_rejected)$";
    private const string Server = @"/stats?usedonly&filter=^(server\.state|listener_manager\.workers_started)";
    private static readonly TimeSpan UpdatesTimeout = TimeSpan.FromSeconds(1), ServerTimeout = TimeSpan.FromSeconds(3);

    private int _starts = -1;
    private bool _configured;
    private bool _live;

    /// <summary>Null when Envoy serves, else the reason in pilot-agent's words.</summary>
    public async Task<string?> CheckAsync(CancellationToken stop) =>
        await CheckConfiguredAsync(stop) ?? await CheckLiveAsync(stop);

    /// <summary>First part: both CDS and LDS have been taken once.</summary>
    public async Task<string?> CheckConfiguredAsync(CancellationToken stop)
    {
        Unlatch();
        if (_configured) { return null; }
        AdminReply reply = await admin.GetAsync(Updates, UpdatesTimeout, stop);
        if (reply.Problem is { } problem) { return problem; }
        string? missing = ExplainUpdates(reply.Body!);
        _configured = missing is null;
        return missing;
    }

    /// <summary>Second part: the server is live and its workers run.</summary>
    public async Task<string?> CheckLiveAsync(CancellationToken stop)
    {
        Unlatch();
        if (_live) { return IsGone() ? "Envoy is not running" : null; }
        AdminReply reply = await admin.GetAsync(Server, ServerTimeout, stop);
        if (reply.Problem is { } problem) { return "failed to get readiness stats: " + problem; }
        string? missing = ExplainServer(reply.Body!);
        _live = missing is null;
        return missing;
    }

    /// <summary>Absent statistics are 0: Envoy omits unused ones.</summary>
    public static string? ExplainUpdates(string body)
    {
        long cds = EnvoyStats.Find(body, "cluster_manager.cds.update_success") ?? 0;
        long cdsRejected = EnvoyStats.Find(body, "cluster_manager.cds.update_rejected") ?? 0;
        long lds = EnvoyStats.Find(body, "listener_manager.lds.update_success") ?? 0;
        long ldsRejected = EnvoyStats.Find(body, "listener_manager.lds.update_rejected") ?? 0;
        if (cds > 0 && lds > 0) { return null; }
        string counts = $"cds updates: {cds} successful, {cdsRejected} rejected; lds updates: {lds} successful, {ldsRejected} rejected";
        if (cds == 0 && lds == 0) { return "config not received from XDS server (is Istiod running?): " + counts; }
        return cdsRejected > 0 || ldsRejected > 0
            ? "config received from XDS server, but was rejected: " + counts
            : "config not fully received from XDS server: " + counts;
    }

    /// <summary>Here an absent statistic is an error: it has not been written yet.</summary>
    public static string? ExplainServer(string body)
    {
        long? state = EnvoyStats.Find(body, "server.state");
        long? workers = EnvoyStats.Find(body, "listener_manager.workers_started");
        if (state is null) { return "failed to get readiness stats: server.state is not yet updated: " + OneLine(body); }
        if (workers is null) { return "failed to get readiness stats: listener_manager.workers_started is not yet updated: " + OneLine(body); }
        if (state != 0) { return $"server is not live, current state is: {StateName(state.Value)}"; }
        return workers == 1 ? null : "workers have not yet started";
    }

    private static string StateName(long state) => state switch
    {
        0 => "LIVE",
        1 => "DRAINING",
        2 => "PRE_INITIALIZING",
        3 => "INITIALIZING",
        _ => state.ToString(System.Globalization.CultureInfo.InvariantCulture),
    };

    private static string OneLine(string body) => body.Trim().ReplaceLineEndings(" ");

    private bool IsGone() => state?.Current is { HasProcess: false };

    private void Unlatch()
    {
        int starts = state?.Current?.Starts ?? 0;
        if (starts == _starts) { return; }
        _starts = starts;
        _configured = _live = false;
    }
}
