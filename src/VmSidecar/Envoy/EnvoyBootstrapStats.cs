using System.Text.Json.Nodes;

using VmSidecar.Configuration;

namespace VmSidecar.Envoy;

/// <summary>The statistics part of the bootstrap: which tags are cut out of names, and which statistics exist at all. Pure.</summary>
internal static class EnvoyBootstrapStats
{
    private const string Digits = @"(?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*)";

    // Names and values istiod's 1.10 telemetry writes into statistic names; current telemetry tags them itself.
    private static readonly string[] s_telemetryTags =
    [
        "reporter", "source_namespace", "source_workload", "source_workload_namespace", "source_principal", "source_app", "source_version", "source_cluster",
        "destination_namespace", "destination_workload", "destination_workload_namespace", "destination_principal", "destination_app", "destination_version",
        "destination_service", "destination_service_name", "destination_service_namespace", "destination_port", "destination_cluster", "request_protocol",
        "request_operation", "request_host", "response_flags", "grpc_response_status", "connection_security_policy", "source_canonical_service",
        "destination_canonical_service", "source_canonical_revision", "destination_canonical_revision",
    ];

    public static void Add(JsonObject root, EnvoyOptions options, EnvoyVersion version)
    {
        var config = new JsonObject
        {
            ["use_all_default_tags"] = false,
            ["stats_tags"] = Tags(options, version),
            ["stats_matcher"] = new JsonObject { ["inclusion_list"] = new JsonObject { ["patterns"] = Patterns(options, version) } },
        };
        if (Buckets(options) is { Count: > 0 } buckets) { config["histogram_bucket_settings"] = buckets; }
        root["stats_config"] = config;
        AddIntervals(root, options, version);
    }

    private static JsonArray Tags(EnvoyOptions options, EnvoyVersion version)
    {
        bool current = IsCurrent(version);
        var tags = new List<(string Name, string Regex)>
        {
            ("cluster_name", current ? @"^cluster(\.(.+);)" : @"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)"), // current names end in ';' (alt_stat_name)
            ("http_conn_manager_prefix", current ? @"^http\.(((?:[_.[:digit:]\w]*|[_\[\]aAbBcCdDeEfF[:digit:]\w\:]*));\.)" : $@"^http\.(({Digits})\.)"),
            ("thread_name", @"^server(\.(.+))\.watchdog"),
            ("tcp_prefix", @"^tcp\.((.*?)\.)\w+?$"),
            ("response_code", current ? @"_rq(_(\d{3}))$" : @"(response_code=\.=(.+?);\.;)|_rq(_(\d{3}))$"),
            ("response_code_class", @"_rq(_(\dxx))$"),
            ("http_conn_manager_listener_prefix", $@"^listener(?=\.).*?\.http\.(({Digits})\.)"),
            ("listener_address", $@"^listener\.(({Digits})\.)"),
            ("mongo_prefix", @"^mongo\.(.+?)\.(collection|cmd|cx_|op_|delays_|decoding_)(.*?)$"),
        };
        tags.AddRange(ExtraTags(options, current).Select(tag => (tag, $@"({tag}=\.=(.*?);\.;)")));
        tags.AddRange(
        [
            ("cache", @"(cache\.(.+?)\.)"), ("component", @"(component\.(.+?)\.)"), ("tag", @"(tag\.(.+?);\.)"), ("wasm_filter", @"(wasm_filter\.(.+?)\.)"),
            ("authz_enforce_result", @"rbac(\.(allowed|denied))"), ("authz_dry_run_action", @"(\.istio_dry_run_(allow|deny)_)"),
            ("authz_dry_run_result", @"(\.shadow_(allowed|denied))"),
        ]);
        return new([.. tags.Select(t => (JsonNode)new JsonObject { ["tag_name"] = t.Name, ["regex"] = t.Regex })]);
    }

    private static IEnumerable<string> ExtraTags(EnvoyOptions options, bool current)
    {
        IEnumerable<string> configured = options.ProxyConfig["extraStatTags"] is JsonArray list ? list.Select(t => t?.ToString() ?? "") : [];
        return (current ? [] : s_telemetryTags).Concat(configured).Concat(Annotated(options, "extraStatTags") ?? []).Where(t => t.Length > 0).Distinct();
    }

    private static JsonArray Patterns(EnvoyOptions options, EnvoyVersion version)
    {
        var patterns = new JsonArray();
        Each("prefix", ["reporter=", .. User(options, "Prefixes"), "cluster_manager", "listener_manager", "server", "cluster.xds-grpc", "wasm"]);
        Each("suffix", [.. User(options, "Suffixes"), "rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied"]);
        if (options.ExitOnZeroConnections) { Each("suffix", ["downstream_cx_active"]); } // the drain counts by it
        foreach (string regex in (string[])[.. User(options, "Regexps"), @"vhost\..*\.route\..*"])
        {
            var safe = new JsonObject { ["regex"] = regex };
            if (!version.IsAtLeast(23)) { safe["google_re2"] = new JsonObject(); } // the engine had to be named
            patterns.Add((JsonNode)new JsonObject { ["safe_regex"] = safe });
        }
        Each("prefix", IsCurrent(version) ? ["component", "istio"] : ["component"]);
        return patterns;

        void Each(string kind, IEnumerable<string> values)
        {
            foreach (string value in values) { patterns.Add((JsonNode)new JsonObject { [kind] = value }); }
        }
    }

    /// <summary>The annotation where there is one, else proxyStatsMatcher; <c>{pod_ip}</c> stands for each address of the node.</summary>
    private static IEnumerable<string> User(EnvoyOptions options, string kind)
    {
        IEnumerable<string> given = Annotated(options, $"statsInclusion{kind}")
            ?? ((options.ProxyConfig["proxyStatsMatcher"] as JsonObject)?[$"inclusion{kind}"] as JsonArray)?.Select(p => p?.ToString() ?? "") ?? [];
        return given.SelectMany(p => p.Contains("{pod_ip}", StringComparison.Ordinal)
            ? options.Node.Addresses.Select(ip => p.Replace("{pod_ip}", ip, StringComparison.Ordinal)) : [p]).Where(p => p.Length > 0);
    }

    private static JsonArray Buckets(EnvoyOptions options)
    {
        var settings = new JsonArray();
        if (Annotation(options, "statsHistogramBuckets") is not { } text || JsonText.Parse(text) is not JsonObject buckets) { return settings; }
        foreach ((string prefix, JsonNode? values) in buckets)
        {
            if (values is JsonArray list) { settings.Add((JsonNode)new JsonObject { ["match"] = new JsonObject { ["prefix"] = prefix }, ["buckets"] = list.DeepClone() }); }
        }
        return settings;
    }

    /// <summary>An eviction interval that is no multiple of the flush interval would be refused, so it is left out.</summary>
    private static void AddIntervals(JsonObject root, EnvoyOptions options, EnvoyVersion version)
    {
        TimeSpan flush = TimeSpan.FromSeconds(5); // Envoy's default
        if (Annotation(options, "statsFlushInterval") is { } text && GoValue.TryDuration(text, out TimeSpan given) && given >= TimeSpan.FromMilliseconds(1))
        {
            flush = given;
            root["stats_flush_interval"] = GoValue.ToProtoDuration(given);
        }
        if (version.IsAtLeast(36) && Annotation(options, "statsEvictionInterval") is { } eviction && GoValue.TryDuration(eviction, out TimeSpan evict)
            && evict > TimeSpan.Zero && evict.Ticks % flush.Ticks == 0)
        {
            root["stats_eviction_interval"] = GoValue.ToProtoDuration(evict);
        }
    }

    private static string[]? Annotated(EnvoyOptions options, string name) =>
        Annotation(options, name)?.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);

    /// <summary>From the annotations file, or from a top-level metadata key as in 1.10.</summary>
    private static string? Annotation(EnvoyOptions options, string name)
    {
        string key = "sidecar.istio.io/" + name;
        return (options.Node.Metadata["ANNOTATIONS"] is JsonObject annotations && annotations[key] is { } annotated ? annotated : options.Node.Metadata[key])?.ToString();
    }

    /// <summary>Names as current istiod writes them; Envoys of 1.10's time go with its istiod.</summary>
    private static bool IsCurrent(EnvoyVersion version) => version.IsAtLeast(22);
}
