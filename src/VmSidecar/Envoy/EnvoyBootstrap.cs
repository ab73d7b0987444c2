using System.Net;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

using VmSidecar.Configuration;

namespace VmSidecar.Envoy;

/// <summary>What shapes the bootstrap besides the options.</summary>
/// <param name="Version">Of the executable.</param>
/// <param name="Delta">True: Envoy asks for deltas; false: state of the world (istiod 1.10).</param>
/// <param name="Statsd">Resolved statsdUdpAddress; null: no statsd sink.</param>
internal sealed record EnvoyTarget(EnvoyVersion Version, bool Delta, IPEndPoint? Statsd = null);

/// <summary>
/// Renders Envoy's bootstrap as pilot-agent's template does, field by field from options: pure, every value escaped by the JSON writer, nothing the
/// Envoy at hand would refuse. Parts: EnvoyBootstrapStats, -Clusters, -Listeners, -Tracing.
/// </summary>
internal static class EnvoyBootstrap
{
    private const long NoLimit = int.MaxValue;
    private const string LimitKey = "overload.global_downstream_max_connections";

    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>True where the log format stands in the bootstrap; Envoy refuses it twice.</summary>
    public static bool HasLogFormat(EnvoyVersion version) => version.IsAtLeast(28);

    public static JsonObject Render(EnvoyOptions options, EnvoyTarget target)
    {
        EnvoyVersion version = target.Version;
        var root = new JsonObject();
        if (HasLogFormat(version)) { root["application_log_config"] = new JsonObject { ["log_format"] = LogFormat(options.JsonLogs) }; }
        root["node"] = Node(options.Node);
        root["layered_runtime"] = Runtime(options, version);
        if (version.IsAtLeast(22)) { root["bootstrap_extensions"] = new JsonArray(InternalListener()); }
        EnvoyBootstrapStats.Add(root, options, version);
        root["admin"] = Admin(options);
        root["dynamic_resources"] = Dynamic(target.Delta);
        root["static_resources"] = new JsonObject
        {
            ["clusters"] = EnvoyBootstrapClusters.For(options, version),
            ["listeners"] = EnvoyBootstrapListeners.For(options, version),
        };
        if (HasMonitor(version)) { root["overload_manager"] = Overload(options); }
        if (EnvoyBootstrapTracing.For(options, version) is { } tracing) { root["tracing"] = tracing; }
        if (Sinks(options, target.Statsd) is { Count: > 0 } sinks) { root["stats_sinks"] = sinks; }
        if (options.Node.Metadata["OUTLIER_LOG_PATH"]?.ToString() is { Length: > 0 } outlier)
        {
            root["cluster_manager"] = new JsonObject { ["outlier_detection"] = new JsonObject { ["event_log_path"] = outlier } };
        }
        if (version.IsAtLeast(28)) { root["deferred_stat_options"] = new JsonObject { ["enable_deferred_creation_stats"] = true }; }
        return root;
    }

    /// <summary>The file's bytes: UTF-8, indented for people.</summary>
    public static byte[] ToBytes(JsonObject bootstrap)
    {
        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, Encoder = s_indented.Encoder })) { bootstrap.WriteTo(writer); }
        return buffer.ToArray();
    }

    private static JsonObject LogFormat(bool json) => json
        ? new()
        {
            ["json_format"] = new JsonObject
            {
                ["time"] = "%Y-%m-%dT%T.%fZ", ["level"] = "%l", ["scope"] = "envoy %n", ["msg"] = "%j", ["caller"] = "%g:%#", ["thread"] = "%t",
            },
        }
        : new() { ["text_format"] = "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n %g:%#\t%v\tthread=%t" };

    private static JsonObject Node(NodeOptions node)
    {
        var locality = new JsonObject();
        foreach ((string key, string value) in (ReadOnlySpan<(string, string)>)[("region", node.Region), ("zone", node.Zone), ("sub_zone", node.SubZone)])
        {
            if (value.Length > 0) { locality[key] = value; }
        }
        return new() { ["id"] = node.Id, ["cluster"] = node.Cluster, ["locality"] = locality, ["metadata"] = node.Metadata.DeepClone() };
    }

    private static JsonObject Runtime(EnvoyOptions options, EnvoyVersion version)
    {
        var layer = new JsonObject
        {
            ["envoy.deprecated_features:envoy.config.listener.v3.Listener.hidden_envoy_deprecated_use_original_dst"] = true, // istiod's virtual listeners have it
            ["re2.max_program_size.error_level"] = "32768",
        };
        if (version.IsAtLeast(20)) { layer["envoy.reloadable_features.http_reject_path_with_fragment"] = false; }
        else { layer["envoy.reloadable_features.strict_1xx_and_204_response_headers"] = false; }
        if (!HasMonitor(version)) { layer[LimitKey] = ConnectionLimit(options); }
        if (options.ProxyConfig["runtimeValues"] is JsonObject values)
        {
            foreach ((string key, JsonNode? value) in values)
            {
                if (key == LimitKey) { continue; } // counted in ConnectionLimit
                switch (value?.ToString())
                {
                    case null or "": layer.Remove(key); break;
                    case "true": layer[key] = true; break;
                    case "false": layer[key] = false; break;
                    case { } text: layer[key] = text; break;
                }
            }
        }
        return new()
        {
            ["layers"] = new JsonArray(
                new JsonObject { ["name"] = "global config", ["static_layer"] = layer }, new JsonObject { ["name"] = "admin", ["admin_layer"] = new JsonObject() }),
        };
    }

    private static JsonObject InternalListener() => new()
    {
        ["name"] = "envoy.bootstrap.internal_listener",
        ["typed_config"] = new JsonObject
        {
            ["@type"] = "type.googleapis.com/udpa.type.v1.TypedStruct",
            ["type_url"] = "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
            ["value"] = new JsonObject { ["buffer_size_kb"] = 64 },
        },
    };

    private static JsonObject Admin(EnvoyOptions options) => new()
    {
        ["access_log"] = new JsonArray(new JsonObject
        {
            ["name"] = "envoy.access_loggers.file",
            ["typed_config"] = new JsonObject { ["@type"] = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", ["path"] = "/dev/null" },
        }),
        ["profile_path"] = options.ProfilePath,
        ["address"] = EnvoyJson.Socket(options.Localhost, options.AdminPort),
    };

    private static JsonObject Dynamic(bool delta) => new()
    {
        ["lds_config"] = AdsSource(),
        ["cds_config"] = AdsSource(),
        ["ads_config"] = new JsonObject
        {
            ["api_type"] = delta ? "DELTA_GRPC" : "GRPC", ["set_node_on_first_message_only"] = true, ["transport_api_version"] = "V3",
            ["grpc_services"] = new JsonArray(EnvoyJson.GrpcService("xds-grpc")),
        },
    };

    /// <summary>Fetch timeout 0: Envoy waits for istiod for ever instead of starting empty.</summary>
    private static JsonObject AdsSource() => new() { ["ads"] = new JsonObject(), ["initial_fetch_timeout"] = "0s", ["resource_api_version"] = "V3" };

    private static bool HasMonitor(EnvoyVersion version) => version.IsAtLeast(25);

    private static JsonObject Overload(EnvoyOptions options) => new()
    {
        ["resource_monitors"] = new JsonArray(new JsonObject
        {
            ["name"] = "envoy.resource_monitors.global_downstream_max_connections",
            ["typed_config"] = new JsonObject
            {
                ["@type"] = "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                ["max_active_downstream_connections"] = ConnectionLimit(options),
            },
        }),
    };

    /// <summary>connectionSettings, then the metadata key, then the runtime key, then none.</summary>
    private static long ConnectionLimit(EnvoyOptions options)
    {
        JsonNode? settings = options.ProxyConfig["connectionSettings"];
        string?[] candidates =
        [
            (settings as JsonObject)?["globalDownstreamConnectionLimit"]?.ToString(), (settings as JsonObject)?["global_downstream_connection_limit"]?.ToString(),
            options.ProxyConfig["proxyMetadata"]?["ISTIO_META_GLOBAL_DOWNSTREAM_MAX_CONNECTIONS"]?.ToString(),
            options.Node.Metadata["GLOBAL_DOWNSTREAM_MAX_CONNECTIONS"]?.ToString(), options.ProxyConfig["runtimeValues"]?[LimitKey]?.ToString(),
        ];
        return candidates.Select(text => long.TryParse(text, out long limit) && limit > 0 ? limit : 0).FirstOrDefault(limit => limit > 0, NoLimit);
    }

    private static JsonArray Sinks(EnvoyOptions options, IPEndPoint? statsd)
    {
        var sinks = new JsonArray();
        if (EnvoyBootstrapClusters.MetricsService(options) is not null)
        {
            sinks.Add((JsonNode)Sink("envoy.stat_sinks.metrics_service", "envoy.config.metrics.v3.MetricsServiceConfig",
                new() { ["transport_api_version"] = "V3", ["grpc_service"] = EnvoyJson.GrpcService("envoy_metrics_service") }));
        }
        if (statsd is not null)
        {
            sinks.Add((JsonNode)Sink("envoy.stat_sinks.statsd", "envoy.config.metrics.v3.StatsdSink",
                new() { ["address"] = EnvoyJson.Socket(statsd.Address.ToString(), statsd.Port) }));
        }
        return sinks;
    }

    private static JsonObject Sink(string name, string type, JsonObject config)
    {
        config.Insert(0, "@type", $"type.googleapis.com/{type}");
        return new() { ["name"] = name, ["typed_config"] = config };
    }
}
