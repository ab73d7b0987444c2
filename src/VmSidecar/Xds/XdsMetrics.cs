using VmSidecar.Metrics;

namespace VmSidecar.Xds;

/// <summary>The relay's metrics, all present from zero.</summary>
internal sealed class XdsMetrics(MetricRegistry registry)
{
    public Counter ConnectionFailures { get; } = registry.Counter("istiod_connection_failures", "The total number of connection failures to Istiod");
    public Counter IstiodCancelled { get; } = Terminations(registry, "istiod", "cancelled");
    public Counter IstiodErrors { get; } = Terminations(registry, "istiod", "error");
    public Counter EnvoyCancelled { get; } = Terminations(registry, "envoy", "cancelled");
    public Counter EnvoyErrors { get; } = Terminations(registry, "envoy", "error");
    public Counter Requests { get; } = registry.Counter("xds_proxy_requests", "The total number of Xds Proxy Requests");
    public Counter Responses { get; } = registry.Counter("xds_proxy_responses", "The total number of Xds Proxy Responses");
    public Gauge LargestRequest { get; } = registry.Gauge("pilot_xds_recv_max", "The largest request received from Envoy, bytes");
    public Counter Refusals { get; } = registry.Counter("xds_proxy_nacks", "The total number of responses Envoy rejected");
    public Counter OwnStreams { get; } = registry.Counter("xds_own_streams", "Streams the agent opened for itself while Envoy had none");
    public Counter LeftOut { get; } = registry.Counter("xds_filters_left_out", "Istio's own filters taken out of resources because Envoy cannot load them");
    public Gauge LastNames { get; } = registry.Gauge("xds_last_name_table_timestamp_seconds", "When the last name table was taken, seconds since the epoch; 0: never");
    public Gauge Connected { get; } = registry.Gauge("xds_connected", "1 while a stream to istiod has answered");

    private static Counter Terminations(MetricRegistry registry, string side, string type) =>
        registry.Counter($"{side}_connection_terminations", $"The total number of connection errors to {(side == "envoy" ? "Envoy" : "Istiod")}", $"type=\"{type}\"");
}
