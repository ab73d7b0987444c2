using System.Net;
using System.Text.Json.Nodes;

using VmSidecar.Configuration;
using VmSidecar.Envoy;
using VmSidecar.Tests.Configuration;

using Xunit;

namespace VmSidecar.Tests.Envoy;

/// <summary>The bootstrap against those real pilot-agents wrote, and against what each Envoy takes.</summary>
public sealed class EnvoyBootstrapTests
{
    private static readonly EnvoyVersion s_current = new(1, 40, 0);
    private static readonly EnvoyVersion s_2021 = new(1, 18, 3);

    [Fact]
    public void Is_what_pilot_agent_1_31_writes_but_for_the_differences_listed()
    {
        JsonObject recorded = Fixture("pilot-agent-1.31.json");
        EnvoyOptions options = Recorded(recorded) with { SdsSocket = "./var/run/secrets/workload-spiffe-uds/socket", XdsSocket = "./etc/istio/proxy/XDS" };
        List<string> differences = JsonPaths.Differences(recorded, EnvoyBootstrap.Render(options, new(s_current, Delta: true)));

        const string Layer = "/layered_runtime/layers[global config]/static_layer";
        string[] deliberate =
        [
            // Guards an Envoy may not know (it logs a bug for each such key); one concerns a monitor that is not configured, the other's default is as good.
            $"- {Layer}/envoy.reloadable_features.coalesce_lb_rebuilds_on_batch_update = false",
            $"- {Layer}/envoy.reloadable_features.fixed_heap_use_allocated = true",
            // TCP is the default.
            .. new[] { "clusters[agent]", "clusters[prometheus_stats]" }.Select(c =>
                $"- /static_resources/{c}/load_assignment/endpoints[0]/lb_endpoints[0]/endpoint/address/socket_address/protocol = \"TCP\""),
            .. new[] { "15021", "15090" }.Select(p => $"- /static_resources/listeners[0.0.0.0_{p}]/address/socket_address/protocol = \"TCP\""),
        ];
        Assert.Equal(deliberate.Order(StringComparer.Ordinal), differences.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Is_what_pilot_agent_1_10_writes_for_an_old_envoy_but_for_the_differences_listed()
    {
        JsonObject recorded = Fixture("pilot-agent-1.10.json");
        EnvoyOptions options = Recorded(recorded) with { SdsSocket = "./etc/istio/proxy/SDS", XdsSocket = "./etc/istio/proxy/XDS" };
        List<string> differences = JsonPaths.Differences(recorded, EnvoyBootstrap.Render(options, new(s_2021, Delta: false)));

        const string Deprecation = "/layered_runtime/layers[deprecation]";
        const string Global = "/layered_runtime/layers[global config]";
        const string Http2 = "typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        string[] expected =
        [
            // One layer instead of two, and the program size of today.
            $"- {Deprecation}/name = \"deprecation\"",
            $"- {Deprecation}/static_layer/envoy.deprecated_features:envoy.config.listener.v3.Listener.hidden_envoy_deprecated_use_original_dst = true",
            $"- {Deprecation}/static_layer/envoy.reloadable_features.strict_1xx_and_204_response_headers = false",
            $"- {Deprecation}/static_layer/re2.max_program_size.error_level = 1024",
            $"+ {Global}/static_layer/envoy.deprecated_features:envoy.config.listener.v3.Listener.hidden_envoy_deprecated_use_original_dst = true",
            $"+ {Global}/static_layer/envoy.reloadable_features.strict_1xx_and_204_response_headers = false",
            $"+ {Global}/static_layer/re2.max_program_size.error_level = \"32768\"",
            // Not deprecated forms that 1.18 takes as well.
            "- /admin/access_log_path = \"/dev/null\"",
            "+ /admin/access_log[envoy.access_loggers.file]/name = \"envoy.access_loggers.file\"",
            "+ /admin/access_log[envoy.access_loggers.file]/typed_config/@type = \"type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog\"",
            "+ /admin/access_log[envoy.access_loggers.file]/typed_config/path = \"/dev/null\"",
            .. new[] { "sds-grpc", "xds-grpc" }.SelectMany(c => new[]
            {
                $"- /static_resources/clusters[{c}]/http2_protocol_options = {{}}",
                $"+ /static_resources/clusters[{c}]/{Http2}/@type = \"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\"",
                $"+ /static_resources/clusters[{c}]/{Http2}/explicit_http_config/http2_protocol_options = {{}}",
            }),
            .. new[] { "agent", "prometheus_stats" }.Select(c =>
                $"- /static_resources/clusters[{c}]/load_assignment/endpoints[0]/lb_endpoints[0]/endpoint/address/socket_address/protocol = \"TCP\""),
            // Tags: the digits of a response code are found; watchdog threads and route statistics as today.
            @"- /stats_config/stats_tags[response_code]/regex = ""(response_code=\\.=(.\u002B?);\\.;)|_rq(_(\\.d{3}))$""",
            @"+ /stats_config/stats_tags[response_code]/regex = ""(response_code=\\.=(.\u002B?);\\.;)|_rq(_(\\d{3}))$""",
            @"+ /stats_config/stats_tags[thread_name]/regex = ""^server(\\.(.\u002B))\\.watchdog""",
            @"+ /stats_config/stats_tags[thread_name]/tag_name = ""thread_name""",
            @"- /stats_config/stats_matcher/inclusion_list/patterns[10]/prefix = ""component""",
            @"+ /stats_config/stats_matcher/inclusion_list/patterns[10]/safe_regex/google_re2 = {}",
            @"+ /stats_config/stats_matcher/inclusion_list/patterns[10]/safe_regex/regex = ""vhost\\..*\\.route\\..*""",
            @"+ /stats_config/stats_matcher/inclusion_list/patterns[11]/prefix = ""component""",
        ];
        // Listeners have no names in 1.10, so all their lines differ; what they hold is compared in the test of the current form.
        Assert.Equal(expected.Order(StringComparer.Ordinal), differences.Where(d => !d.Contains("/static_resources/listeners", StringComparison.Ordinal)).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Holds_nothing_an_envoy_of_2021_does_not_know()
    {
        string text = EnvoyBootstrap.Render(Options(), new(s_2021, Delta: false)).ToJsonString();
        foreach (string unknown in (string[])["application_log_config", "deferred_stat_options", "bypass_overload_manager", "ignore_global_conn_limit",
            "bootstrap_extensions", "overload_manager", "stats_eviction_interval", "DELTA_GRPC", "zstd", "http_reject_path_with_fragment"])
        {
            Assert.DoesNotContain(unknown, text, StringComparison.Ordinal);
        }
        Assert.Contains("google_re2", text, StringComparison.Ordinal);
        Assert.Contains("overload.global_downstream_max_connections", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Sockets_are_absolute_and_below_the_root()
    {
        using TestHost host = TestHost.WithFixture("1.31");
        JsonObject bootstrap = EnvoyBootstrap.Render(host.Options().Envoy, new(s_current, Delta: true));
        Assert.Equal($"\"{host.Paths.WorkloadSdsSocket}\"", Find(bootstrap, "clusters[sds-grpc]/load_assignment/endpoints[0]/lb_endpoints[0]/endpoint/address/pipe/path"));
        Assert.Equal($"\"{host.Paths.XdsSocket}\"", Find(bootstrap, "clusters[xds-grpc]/load_assignment/endpoints[0]/lb_endpoints[0]/endpoint/address/pipe/path"));
    }

    [Theory]
    [InlineData(true, "\"DELTA_GRPC\"")]
    [InlineData(false, "\"GRPC\"")]
    public void Asks_in_the_mode_istiod_speaks(bool delta, string apiType) =>
        Assert.Equal(apiType, Find(EnvoyBootstrap.Render(Options(), new(s_current, delta)), "ads_config/api_type"));

    [Fact]
    public void An_ipv6_only_host_gets_ipv6_loopback_and_wildcard()
    {
        EnvoyOptions options = Options(host => host.Network = new FakeNetwork("2001:db8:1::12"));
        JsonObject bootstrap = EnvoyBootstrap.Render(options, new(s_current, Delta: true));
        Assert.Equal("\"::1\"", Find(bootstrap, "/admin/address/socket_address/address"));
        Assert.Equal("\"::\"", Find(bootstrap, "listeners[::_15021]/address/socket_address/address"));
        Assert.Contains("v6", EnvoyArguments.For(options, s_current, "x"));
    }

    [Fact]
    public void The_agent_cluster_follows_the_status_port_and_goes_with_it()
    {
        EnvoyOptions moved = Options(host => host.Mesh("defaultConfig: {statusPort: 16020}\n"));
        Assert.Equal("16020", Find(EnvoyBootstrap.Render(moved, new(s_2021, Delta: false)), "clusters[agent]/load_assignment/endpoints[0]/lb_endpoints[0]/endpoint/address/socket_address/port_value"));
        EnvoyOptions off = Options(host => host.Mesh("defaultConfig: {statusPort: 0}\n"));
        string text = EnvoyBootstrap.Render(off, new(s_current, Delta: true)).ToJsonString();
        Assert.DoesNotContain("\"agent\"", text, StringComparison.Ordinal);
        Assert.DoesNotContain("15021\"", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Metrics_bind_to_loopback_when_asked()
    {
        EnvoyOptions options = Options(host => host.Mesh("defaultConfig: {proxyMetadata: {METRICS_LOCALHOST_ACCESS_ONLY: 'true'}}\n"));
        JsonObject bootstrap = EnvoyBootstrap.Render(options, new(s_current, Delta: true));
        Assert.Equal("\"127.0.0.1\"", Find(bootstrap, "listeners[127.0.0.1_15090]/address/socket_address/address"));
        Assert.Equal("\"0.0.0.0\"", Find(bootstrap, "listeners[0.0.0.0_15021]/address/socket_address/address"));
    }

    [Fact]
    public void Statistics_follow_the_proxy_configuration()
    {
        EnvoyOptions options = Options(host => host.Mesh("""
            defaultConfig:
              extraStatTags: [request_host, request_host, plan]
            """));
        JsonNode config = EnvoyBootstrap.Render(options, new(s_current, Delta: true))["stats_config"]!;
        string[] tags = [.. config["stats_tags"]!.AsArray().Select(t => t!["tag_name"]!.ToString())];
        Assert.Equal(["mongo_prefix", "request_host", "plan", "cache"], tags.SkipWhile(t => t != "mongo_prefix").Take(4));
        Assert.Equal("(plan=\\.=(.*?);\\.;)", config["stats_tags"]!.AsArray().First(t => t!["tag_name"]!.ToString() == "plan")!["regex"]!.ToString());
    }

    [Fact]
    public void Statistics_patterns_stand_in_the_classic_order()
    {
        EnvoyOptions options = Options(host => host.Mesh("""
            defaultConfig:
              proxyStatsMatcher:
                inclusionPrefixes: ["cluster.{pod_ip}", mine]
                inclusionSuffixes: [upstream_rq_timeout]
                inclusionRegexps: ['.*retry.*']
            """));
        JsonArray patterns = EnvoyBootstrap.Render(options, new(s_current, Delta: true))["stats_config"]!["stats_matcher"]!["inclusion_list"]!["patterns"]!.AsArray();
        Assert.Equal(
            [
                "reporter=", "cluster.10.0.0.12", "mine", "cluster_manager", "listener_manager", "server", "cluster.xds-grpc", "wasm",
                "upstream_rq_timeout", "rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied", ".*retry.*", "vhost\\..*\\.route\\..*", "component", "istio",
            ],
            patterns.Select(p => (p!["prefix"] ?? p["suffix"] ?? p["safe_regex"]!["regex"])!.ToString()));
    }

    [Fact]
    public void Tracing_sinks_and_log_services_get_clusters()
    {
        EnvoyOptions options = Options(host => host.Mesh("""
            defaultConfig:
              tracing: {zipkin: {address: "zipkin.istio-system:9411"}, tlsSettings: {mode: ISTIO_MUTUAL}}
              statsdUdpAddress: "10.0.0.9:8125"
              envoyMetricsService: {address: "metrics.example:15000", tcpKeepalive: {probes: 3, time: 10s}}
              envoyAccessLogService: {address: "logs.example:15001", tlsSettings: {mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem, sni: logs}}
            """));
        JsonObject bootstrap = EnvoyBootstrap.Render(options, new(s_current, Delta: true, new IPEndPoint(IPAddress.Parse("10.0.0.9"), 8125)));
        Assert.Equal("\"zipkin\"", Find(bootstrap, "/tracing/http/typed_config/collector_cluster"));
        Assert.Equal("\"30s\"", Find(bootstrap, "clusters[zipkin]/dns_refresh_rate"));
        Assert.Equal("\"tracer\"", Find(bootstrap, "clusters[zipkin]/transport_socket/typed_config/sni"));
        Assert.Equal("3", Find(bootstrap, "clusters[envoy_metrics_service]/upstream_connection_options/tcp_keepalive/keepalive_probes"));
        Assert.Equal("\"envoy_metrics_service\"", Find(bootstrap, "stats_sinks[envoy.stat_sinks.metrics_service]/typed_config/grpc_service/envoy_grpc/cluster_name"));
        Assert.Equal("8125", Find(bootstrap, "stats_sinks[envoy.stat_sinks.statsd]/typed_config/address/socket_address/port_value"));
        Assert.Equal("\"file-cert:/c.pem~/k.pem\"", Find(bootstrap, "clusters[envoy_accesslog_service]/transport_socket/typed_config/common_tls_context/tls_certificate_sds_secret_configs[file-cert:/c.pem~/k.pem]/name"));
        Assert.Equal("\"file-root:/ca.pem\"", Find(bootstrap, "clusters[envoy_accesslog_service]/transport_socket/typed_config/common_tls_context/validation_context_sds_secret_config/name"));
    }

    [Fact]
    public void A_tracer_that_current_envoys_lack_is_left_out()
    {
        EnvoyOptions options = Options(host => host.Mesh("defaultConfig: {tracing: {lightstep: {address: 'l.example:443', accessToken: t}}}\n"));
        Assert.Contains("LightstepConfig", EnvoyBootstrap.Render(options, new(s_2021, Delta: false)).ToJsonString(), StringComparison.Ordinal);
        string current = EnvoyBootstrap.Render(options, new(s_current, Delta: true)).ToJsonString();
        Assert.DoesNotContain("LightstepConfig", current, StringComparison.Ordinal);
        Assert.DoesNotContain("\"lightstep\",", current, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("connectionSettings: {globalDownstreamConnectionLimit: 7}\n  runtimeValues: {overload.global_downstream_max_connections: '9'}", "7")]
    [InlineData("proxyMetadata: {ISTIO_META_GLOBAL_DOWNSTREAM_MAX_CONNECTIONS: '8'}\n  runtimeValues: {overload.global_downstream_max_connections: '9'}", "8")]
    [InlineData("runtimeValues: {overload.global_downstream_max_connections: '9'}", "9")]
    [InlineData("meshId: m", "2147483647")]
    public void The_connection_limit_has_its_precedence(string field, string limit)
    {
        EnvoyOptions options = Options(host => host.Mesh($"defaultConfig:\n  {field}\n"));
        JsonObject bootstrap = EnvoyBootstrap.Render(options, new(s_current, Delta: true));
        Assert.Equal(limit, Find(bootstrap, "typed_config/max_active_downstream_connections"));
        Assert.DoesNotContain("overload.global_downstream", bootstrap["layered_runtime"]!.ToJsonString(), StringComparison.Ordinal);
        Assert.Contains($"\"overload.global_downstream_max_connections\":{limit}", EnvoyBootstrap.Render(options, new(s_2021, Delta: false))["layered_runtime"]!.ToJsonString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Runtime_values_override_and_delete()
    {
        EnvoyOptions options = Options(host => host.Mesh("""
            defaultConfig:
              runtimeValues: {"re2.max_program_size.error_level": "", "a": "true", "b": "text"}
            """));
        JsonNode layer = EnvoyBootstrap.Render(options, new(s_current, Delta: true))["layered_runtime"]!["layers"]![0]!["static_layer"]!;
        Assert.Null(layer["re2.max_program_size.error_level"]);
        Assert.Equal("true", layer["a"]!.ToJsonString());
        Assert.Equal("\"text\"", layer["b"]!.ToJsonString());
    }

    [Fact]
    public void Every_value_is_escaped()
    {
        EnvoyOptions options = Options(host => host.Mesh("defaultConfig: {serviceCluster: 'a\"b\\c'}\n").Cluster("ISTIO_METAJSON_LABELS='{\"istio-locality\":\"r\\\"x.z\"}'\n"));
        JsonNode back = JsonNode.Parse(EnvoyBootstrap.ToBytes(EnvoyBootstrap.Render(options, new(s_current, Delta: true))))!;
        Assert.Equal("a\"b\\c", back["node"]!["cluster"]!.ToString());
        Assert.Equal("r\"x", back["node"]!["locality"]!["region"]!.ToString());
    }

    private static string Find(JsonNode bootstrap, string end) => JsonPaths.Of(bootstrap).Single(p => p.Key.EndsWith(end, StringComparison.Ordinal)).Value;

    private static JsonObject Fixture(string name) => JsonNode.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Fixtures/bootstrap", name)))!.AsObject();

    private static EnvoyOptions Options(Action<TestHost>? change = null)
    {
        using TestHost host = TestHost.WithFixture("1.31");
        change?.Invoke(host);
        return host.Options().Envoy;
    }

    /// <summary>Options with the node of a recorded bootstrap, so that the rest can be compared.</summary>
    private static EnvoyOptions Recorded(JsonObject bootstrap)
    {
        JsonNode node = bootstrap["node"]!;
        JsonObject metadata = node["metadata"]!.DeepClone().AsObject();
        return Options() with
        {
            Node = new(node["id"]!.ToString(), node["cluster"]!.ToString(), "", "", "", metadata, ["10.99.0.2"]),
            ProxyConfig = metadata["PROXY_CONFIG"]!.DeepClone().AsObject(),
            ProfilePath = "/var/lib/istio/data/envoy.prof",
        };
    }
}
