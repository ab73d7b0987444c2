using System.Text.Json.Nodes;

namespace VmSidecar.Envoy;

/// <summary>TLS of a telemetry service: certificates come from the agent over SDS, by the names the agent's SDS server understands. Pure.</summary>
internal static class EnvoyBootstrapTls
{
    /// <summary>Null for mode DISABLE or no settings.</summary>
    public static JsonObject? For(JsonObject? settings, string defaultSni)
    {
        string mode = settings?["mode"]?.ToString() ?? "DISABLE";
        if (settings is null || mode == "DISABLE") { return null; }
        bool mesh = mode == "ISTIO_MUTUAL";
        string certificate = settings["clientCertificate"]?.ToString() ?? "", key = settings["privateKey"]?.ToString() ?? "", roots = settings["caCertificates"]?.ToString() ?? "";
        var common = new JsonObject();
        if (mesh) { common["alpn_protocols"] = new JsonArray("istio", "h2"); }
        if (mesh || (mode == "MUTUAL" && certificate.Length > 0))
        {
            common["tls_certificate_sds_secret_configs"] = new JsonArray(Secret(mesh ? "default" : $"file-cert:{certificate}~{key}"));
        }
        if (mesh || roots.Length > 0) { AddValidation(common, settings, Secret(mesh ? "ROOTCA" : $"file-root:{roots}")); }
        var context = new JsonObject
        {
            ["@type"] = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            ["common_tls_context"] = common,
        };
        string sni = settings["sni"]?.ToString() is { Length: > 0 } given ? given : mesh ? defaultSni : "";
        if (sni.Length > 0) { context["sni"] = sni; }
        return new() { ["name"] = "envoy.transport_sockets.tls", ["typed_config"] = context };
    }

    private static void AddValidation(JsonObject common, JsonObject settings, JsonObject roots)
    {
        if (settings["subjectAltNames"] is not JsonArray { Count: > 0 } names) { common["validation_context_sds_secret_config"] = roots; return; }
        common["combined_validation_context"] = new JsonObject
        {
            ["default_validation_context"] = new JsonObject
            {
                ["match_subject_alt_names"] = new JsonArray([.. names.Select(n => (JsonNode)new JsonObject { ["exact"] = n?.ToString() })]),
            },
            ["validation_context_sds_secret_config"] = roots,
        };
    }

    private static JsonObject Secret(string name) => new()
    {
        ["name"] = name,
        ["sds_config"] = new JsonObject
        {
            ["resource_api_version"] = "V3",
            ["api_config_source"] = new JsonObject
            {
                ["api_type"] = "GRPC", ["transport_api_version"] = "V3", ["grpc_services"] = new JsonArray(EnvoyJson.GrpcService("sds-grpc")),
            },
        },
    };
}
