using System.Collections.Frozen;
using System.Text.Json;

namespace VmSidecar.MiniEnvoy.Startup;

/// <summary>The fields of the parts of envoy.config.bootstrap.v3 that MiniEnvoy knows: an unknown one is refused as Envoy does without --allow-unknown-static-fields.</summary>
internal static class BootstrapSchema
{
    private static readonly FrozenDictionary<string, string[]> Known = new Dictionary<string, string[]>
    {
        ["bootstrap.v3.Bootstrap"] =
        ["node", "static_resources", "dynamic_resources", "cluster_manager", "stats_sinks", "stats_config", "stats_flush_interval", "stats_flush_on_admin", "watchdog", "watchdogs", "tracing",
         "layered_runtime", "admin", "overload_manager", "enable_dispatcher_stats", "header_prefix", "stats_server_version_override", "use_tcp_for_dns_lookups", "dns_resolution_config",
         "typed_dns_resolver_config", "bootstrap_extensions", "fatal_actions", "config_sources", "default_config_source", "default_socket_interface", "certificate_provider_instances",
         "inline_headers", "perf_tracing_file_path", "default_regex_engine", "xds_delegate_extension", "xds_config_tracker_extension", "listener_manager", "application_log_config",
         "grpc_async_client_manager_config", "stats_eviction_interval", "memory_allocator_manager", "deferred_stat_options"],
        ["core.v3.Node"] = ["id", "cluster", "metadata", "dynamic_parameters", "locality", "user_agent_name", "user_agent_version", "user_agent_build_version", "extensions", "client_features", "listening_addresses"],
        ["core.v3.Locality"] = ["region", "zone", "sub_zone"],
        ["bootstrap.v3.Admin"] = ["access_log", "access_log_path", "profile_path", "address", "socket_options", "ignore_global_conn_limit", "allow_paths"],
        ["bootstrap.v3.DynamicResources"] = ["lds_config", "lds_resources_locator", "cds_config", "cds_resources_locator", "ads_config"],
        ["bootstrap.v3.StaticResources"] = ["listeners", "clusters", "secrets"],
        ["cluster.v3.Cluster"] =
        ["name", "alt_stat_name", "type", "cluster_type", "eds_cluster_config", "connect_timeout", "per_connection_buffer_limit_bytes", "lb_policy", "load_assignment", "health_checks",
         "max_requests_per_connection", "circuit_breakers", "upstream_http_protocol_options", "common_http_protocol_options", "http_protocol_options", "http2_protocol_options",
         "typed_extension_protocol_options", "dns_refresh_rate", "dns_failure_refresh_rate", "respect_dns_ttl", "dns_lookup_family", "dns_resolvers", "use_tcp_for_dns_lookups",
         "outlier_detection", "cleanup_interval", "upstream_bind_config", "lb_subset_config", "common_lb_config", "transport_socket", "transport_socket_matches", "metadata", "protocol_selection",
         "upstream_connection_options", "close_connections_on_host_health_failure", "ignore_health_on_host_removal", "filters", "load_balancing_policy", "track_timeout_budgets",
         "upstream_config", "track_cluster_stats", "preconnect_policy", "connection_pool_per_downstream_connection", "wait_for_warm_on_init", "least_request_lb_config", "typed_dns_resolver_config"],
        ["listener.v3.Listener"] =
        ["name", "address", "additional_addresses", "stat_prefix", "filter_chains", "filter_chain_matcher", "use_original_dst", "default_filter_chain", "per_connection_buffer_limit_bytes", "metadata",
         "deprecated_v1", "drain_type", "listener_filters", "listener_filters_timeout", "continue_on_listener_filters_timeout", "transparent", "freebind", "socket_options",
         "tcp_fast_open_queue_length", "traffic_direction", "udp_listener_config", "api_listener", "connection_balance_config", "reuse_port", "enable_reuse_port", "access_log", "tcp_backlog_size",
         "max_connections_to_accept_per_socket_event", "bind_to_port", "internal_listener", "enable_mptcp", "ignore_global_conn_limit", "bypass_overload_manager", "fcds_config"],
        ["core.v3.SocketAddress"] = ["protocol", "address", "port_value", "named_port", "resolver_name", "ipv4_compat", "network_namespace_filepath"],
    }.ToFrozenDictionary();

    /// <summary>Throws for the first field of <paramref name="value"/> that the message does not have.</summary>
    public static void Check(JsonElement value, string message, bool allowUnknown)
    {
        if (value.ValueKind != JsonValueKind.Object) { throw new BootstrapException($"Protobuf message (type envoy.config.{message}) has a value that is not an object"); }
        foreach (JsonProperty property in value.EnumerateObject())
        {
            if (!allowUnknown && !Known[message].Contains(Snake(property.Name)))
            {
                throw new BootstrapException($"Protobuf message (type envoy.config.{message} reason INVALID_ARGUMENT: no such field: '{property.Name}') has unknown fields");
            }
        }
    }

    /// <summary>The member by its proto name, also written in camel case.</summary>
    public static JsonElement? Member(JsonElement value, string name)
    {
        foreach (JsonProperty property in value.EnumerateObject())
        {
            if (Snake(property.Name) == name) { return property.Value; }
        }
        return null;
    }

    private static string Snake(string name) => string.Concat(name.Select(c => char.IsAsciiLetterUpper(c) ? "_" + char.ToLowerInvariant(c) : c.ToString()));
}
