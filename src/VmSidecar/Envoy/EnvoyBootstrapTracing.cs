using System.Text.Json.Nodes;

using VmSidecar.Configuration;

namespace VmSidecar.Envoy;

/// <summary>The fallback tracer and its cluster: Zipkin, Datadog or Lightstep, as the proxy configuration's <c>tracing</c> says; istiod's own tracing comes per listener. Pure.</summary>
internal static class EnvoyBootstrapTracing
{
    public static JsonObject? For(EnvoyOptions options, EnvoyVersion version) => Tracer(options, version) switch
    {
        ("zipkin", _, _) => Http("envoy.tracers.zipkin", "envoy.config.trace.v3.ZipkinConfig", new()
        {
            ["collector_cluster"] = "zipkin", ["collector_endpoint"] = "/api/v2/spans", ["collector_endpoint_version"] = "HTTP_JSON",
            ["trace_id_128bit"] = true, ["shared_span_context"] = false,
        }),
        ("datadog", _, _) => Http("envoy.tracers.datadog", "envoy.config.trace.v3.DatadogConfig", new()
        {
            ["collector_cluster"] = "datadog_agent", ["service_name"] = options.Node.Cluster,
        }),
        ("lightstep", _, { } config) => Http("envoy.tracers.lightstep", "envoy.config.trace.v3.LightstepConfig", new()
        {
            ["collector_cluster"] = "lightstep", ["access_token"] = new JsonObject { ["inline_string"] = config["accessToken"]?.ToString() ?? "" },
        }),
        _ => null,
    };

    /// <summary>The tracer's cluster; null: no tracing.</summary>
    public static JsonObject? Cluster(EnvoyOptions options, EnvoyVersion version)
    {
        if (Tracer(options, version) is not { } tracer) { return null; }
        JsonObject cluster = EnvoyBootstrapClusters.Named(
            tracer.Kind == "datadog" ? "datadog_agent" : tracer.Kind, tracer.Address, options, version, http2: tracer.Kind == "lightstep");
        if (tracer.Kind == "zipkin") { cluster["dns_refresh_rate"] = "30s"; }
        if (EnvoyBootstrapTls.For(options.ProxyConfig["tracing"]?["tlsSettings"] as JsonObject, "tracer") is { } tls) { cluster["transport_socket"] = tls; }
        return cluster;
    }

    private static (string Kind, HostPort Address, JsonObject Config)? Tracer(EnvoyOptions options, EnvoyVersion version)
    {
        if (options.ProxyConfig["tracing"] is not JsonObject tracing) { return null; }
        foreach (string kind in (ReadOnlySpan<string>)["zipkin", "datadog", "lightstep"])
        {
            if (kind == "lightstep" && version.IsAtLeast(30)) { continue; } // current Envoys have no such tracer and would refuse the whole file
            if (tracing[kind] is JsonObject config && HostPort.TryParse(config["address"]?.ToString() ?? "", out HostPort address)) { return (kind, address, config); }
        }
        return null;
    }

    private static JsonObject Http(string name, string type, JsonObject config)
    {
        config.Insert(0, "@type", EnvoyJson.TypePrefix + type);
        return new() { ["http"] = new JsonObject { ["name"] = name, ["typed_config"] = config } };
    }
}
