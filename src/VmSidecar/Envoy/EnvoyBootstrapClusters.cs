using System.Text.Json.Nodes;

using VmSidecar.Configuration;

namespace VmSidecar.Envoy;

/// <summary>The static clusters: Envoy's own admin port, the agent's status port, SDS and XDS sockets, and telemetry services where configured. Pure.</summary>
internal static class EnvoyBootstrapClusters
{
    private const int Unlimited = 100_000; // circuit breakers of xds-grpc: never the reason a stream fails

    public static JsonArray For(EnvoyOptions options, EnvoyVersion version)
    {
        var clusters = new JsonArray
        {
            (JsonNode)Local("prometheus_stats", options.Localhost, options.AdminPort, version),
        };
        if (options.StatusPort != 0) { clusters.Add((JsonNode)Local("agent", options.Localhost, options.StatusPort, version)); }
        clusters.Add((JsonNode)Grpc("sds-grpc", options.SdsSocket, version));
        if (options.FilesSdsSocket is { } files) { clusters.Add((JsonNode)Grpc("sds-files-grpc", files, version)); }
        clusters.Add((JsonNode)Xds(options, version));
        if (EnvoyBootstrapTracing.Cluster(options, version) is { } tracer) { clusters.Add((JsonNode)tracer); }
        if (Remote("envoy_metrics_service", MetricsService(options), options, version) is { } metrics) { clusters.Add((JsonNode)metrics); }
        if (Remote("envoy_accesslog_service", Service(options, "envoyAccessLogService"), options, version) is { } logs) { clusters.Add((JsonNode)logs); }
        return clusters;
    }

    /// <summary>envoyMetricsService, or the older envoyMetricsServiceAddress; null: none.</summary>
    public static JsonObject? MetricsService(EnvoyOptions options) =>
        Service(options, "envoyMetricsService")
        ?? (options.ProxyConfig["envoyMetricsServiceAddress"]?.ToString() is { Length: > 0 } address && HostPort.TryParse(address, out _) ? new() { ["address"] = address } : null);

    /// <summary>A cluster resolved by name; <paramref name="http2"/> for gRPC.</summary>
    public static JsonObject Named(string name, HostPort address, EnvoyOptions options, EnvoyVersion version, bool http2)
    {
        JsonObject cluster = New(name, "STRICT_DNS", "1s", EnvoyJson.Socket(address.Host, address.Port), version);
        cluster["respect_dns_ttl"] = true;
        cluster["dns_lookup_family"] = options.Localhost == "::1" ? "V6_ONLY" : "V4_ONLY";
        if (http2) { cluster["typed_extension_protocol_options"] = EnvoyJson.Http2(); }
        return cluster;
    }

    private static JsonObject? Service(EnvoyOptions options, string field) =>
        options.ProxyConfig[field] is JsonObject service && HostPort.TryParse(service["address"]?.ToString() ?? "", out _) ? service : null;

    private static JsonObject? Remote(string name, JsonObject? service, EnvoyOptions options, EnvoyVersion version)
    {
        if (service is null || !HostPort.TryParse(service["address"]?.ToString() ?? "", out HostPort address)) { return null; }
        JsonObject cluster = Named(name, address, options, version, http2: true);
        if (service["tcpKeepalive"] is JsonObject keepalive) { cluster["upstream_connection_options"] = new JsonObject { ["tcp_keepalive"] = KeepAlive(keepalive) }; }
        if (EnvoyBootstrapTls.For(service["tlsSettings"] as JsonObject, name) is { } tls) { cluster["transport_socket"] = tls; }
        return cluster;
    }

    private static JsonObject KeepAlive(JsonObject given)
    {
        var keepalive = new JsonObject();
        if (given["probes"] is { } probes) { keepalive["keepalive_probes"] = probes.DeepClone(); }
        foreach ((string from, string to) in (ReadOnlySpan<(string, string)>)[("time", "keepalive_time"), ("interval", "keepalive_interval")])
        {
            if (GoValue.TryDuration(given[from]?.ToString() ?? "", out TimeSpan time) && time >= TimeSpan.FromSeconds(1)) { keepalive[to] = (int)time.TotalSeconds; }
        }
        return keepalive;
    }

    private static JsonObject Local(string name, string host, int port, EnvoyVersion version) => New(name, "STATIC", "0.250s", EnvoyJson.Socket(host, port), version);

    private static JsonObject Grpc(string name, string socket, EnvoyVersion version)
    {
        JsonObject cluster = New(name, "STATIC", "1s", EnvoyJson.Pipe(socket), version);
        cluster["typed_extension_protocol_options"] = EnvoyJson.Http2();
        return cluster;
    }

    /// <summary>One connection per stream (max_requests_per_connection 1): the agent pairs each with a stream of its own to istiod.</summary>
    private static JsonObject Xds(EnvoyOptions options, EnvoyVersion version)
    {
        JsonObject cluster = Grpc("xds-grpc", options.XdsSocket, version);
        cluster["circuit_breakers"] = new JsonObject { ["thresholds"] = new JsonArray(Threshold("DEFAULT"), Threshold("HIGH")) };
        cluster["upstream_connection_options"] = new JsonObject { ["tcp_keepalive"] = new JsonObject { ["keepalive_time"] = 300 } };
        cluster["max_requests_per_connection"] = 1;
        return cluster;
    }

    private static JsonObject Threshold(string priority) => new()
    {
        ["priority"] = priority, ["max_connections"] = Unlimited, ["max_pending_requests"] = Unlimited, ["max_requests"] = Unlimited,
    };

    private static JsonObject New(string name, string type, string connectTimeout, JsonObject address, EnvoyVersion version)
    {
        var cluster = new JsonObject { ["name"] = name };
        if (version.IsAtLeast(22)) { cluster["alt_stat_name"] = name + ";"; } // see the cluster_name tag
        cluster["type"] = type;
        cluster["connect_timeout"] = connectTimeout;
        cluster["lb_policy"] = "ROUND_ROBIN";
        cluster["load_assignment"] = EnvoyJson.Endpoint(name, address);
        return cluster;
    }
}
