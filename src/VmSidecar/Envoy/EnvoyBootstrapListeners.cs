using System.Text.Json.Nodes;

using VmSidecar.Configuration;

namespace VmSidecar.Envoy;

/// <summary>The static listeners: 15090 for metrics and 15021 for the health check of load balancers. Pure.</summary>
internal static class EnvoyBootstrapListeners
{
    private static readonly string[] s_metricTypes = ["text/plain", "application/vnd.google.protobuf", "application/openmetrics-text", "application/openmetrics-protobuf"];

    public static JsonArray For(EnvoyOptions options, EnvoyVersion version)
    {
        string metricsAddress = options.MetricsLocalhostOnly ? options.Localhost : options.Wildcard;
        bool compressed = version.IsAtLeast(22) && options.ProxyConfig["statsCompression"]?.ToString() != "false";
        var listeners = new JsonArray
        {
            (JsonNode)Listener(metricsAddress, options.EnvoyPrometheusPort, Manager("stats", "/stats/prometheus", "prometheus_stats", compressed), version),
        };
        if (options.StatusPort != 0)
        {
            listeners.Add((JsonNode)Listener(options.Wildcard, options.EnvoyStatusPort, Manager("agent", "/healthz/ready", "agent", compressed: false), version));
        }
        return listeners;
    }

    /// <summary>Outside the connection limit and the overload manager: health and metrics must answer when nothing else does.</summary>
    private static JsonObject Listener(string address, int port, JsonObject manager, EnvoyVersion version)
    {
        var listener = new JsonObject { ["name"] = $"{address}_{port}", ["address"] = EnvoyJson.Socket(address, port) };
        if (version.IsAtLeast(21)) { listener["ignore_global_conn_limit"] = true; }
        if (version.IsAtLeast(31)) { listener["bypass_overload_manager"] = true; }
        listener["filter_chains"] = new JsonArray(new JsonObject
        {
            ["filters"] = new JsonArray(new JsonObject { ["name"] = "envoy.filters.network.http_connection_manager", ["typed_config"] = manager }),
        });
        return listener;
    }

    private static JsonObject Manager(string prefix, string path, string cluster, bool compressed)
    {
        var filters = new JsonArray();
        if (compressed)
        {
            filters.Add((JsonNode)Compressor("brotli", "Brotli"));
            filters.Add((JsonNode)Compressor("zstd", "Zstd"));
            filters.Add((JsonNode)Compressor("gzip", "Gzip"));
        }
        filters.Add((JsonNode)Filter("envoy.filters.http.router", new() { ["@type"] = EnvoyJson.TypePrefix + "envoy.extensions.filters.http.router.v3.Router" }));
        return new()
        {
            ["@type"] = EnvoyJson.TypePrefix + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            ["codec_type"] = "AUTO",
            ["stat_prefix"] = prefix,
            ["route_config"] = new JsonObject
            {
                ["virtual_hosts"] = new JsonArray(new JsonObject
                {
                    ["name"] = "backend",
                    ["domains"] = new JsonArray("*"),
                    ["routes"] = new JsonArray(new JsonObject { ["match"] = new JsonObject { ["prefix"] = path }, ["route"] = new JsonObject { ["cluster"] = cluster } }),
                }),
            },
            ["http_filters"] = filters,
        };
    }

    private static JsonObject Compressor(string name, string type) => Filter($"envoy.filters.http.compressor.{name}", new()
    {
        ["@type"] = EnvoyJson.TypePrefix + "envoy.extensions.filters.http.compressor.v3.Compressor",
        ["compressor_library"] = new JsonObject
        {
            ["name"] = $"stats_{name}",
            ["typed_config"] = new JsonObject { ["@type"] = $"{EnvoyJson.TypePrefix}envoy.extensions.compression.{name}.compressor.v3.{type}" },
        },
        ["response_direction_config"] = new JsonObject
        {
            ["common_config"] = new JsonObject { ["content_type"] = new JsonArray([.. s_metricTypes.Select(t => (JsonNode)t)]) },
        },
    });

    private static JsonObject Filter(string name, JsonObject config) => new() { ["name"] = name, ["typed_config"] = config };
}
