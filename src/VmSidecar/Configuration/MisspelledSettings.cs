using System.Collections.Frozen;

namespace VmSidecar.Configuration;

/// <summary>Warns of variables that look like settings and that nothing reads. Other variables are the operator's own business.</summary>
internal static class MisspelledSettings
{
    private static readonly FrozenDictionary<string, string> s_known = new Dictionary<string, string>
    {
        ["ISTIO_INBOUND_EXCLUDE_PORTS"] = "ISTIO_LOCAL_EXCLUDE_PORTS",
        ["ISTIO_INBOUND_PORT"] = "ISTIO_INBOUND_PORTS",
        ["ISTIO_OUTBOUND_EXCLUDE_PORTS"] = "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE",
        ["ISTIO_SERVICE_CIDRS"] = "ISTIO_SERVICE_CIDR",
        ["ISTIO_SERVICE_EXCLUDE_CIDRS"] = "ISTIO_SERVICE_EXCLUDE_CIDR",
        ["ISTIO_META_JSON_LABELS"] = "ISTIO_METAJSON_LABELS",
        ["ISTIO_PILOT_ADDRESS"] = "PILOT_ADDRESS",
        ["ISTIO_CA_ADDR"] = "CA_ADDR",
        ["OUTPUT_CERT"] = "OUTPUT_CERTS",
        ["PROV_CERTS"] = "PROV_CERT",
    }.ToFrozenDictionary();

    /// <summary>ISTIO_ variables that some part reads (start script, agent, capture rules), besides ISTIO_META_* and ISTIO_METAJSON_*.</summary>
    private static readonly FrozenSet<string> s_istio = FrozenSet.Create(
        "ISTIO_SIDECAR_CONFIG", "ISTIO_CLUSTER_CONFIG", "ISTIO_BIN_BASE", "ISTIO_LOG_DIR", "ISTIO_NAMESPACE", "ISTIO_SERVICE", "ISTIO_SYSTEM_NAMESPACE",
        "ISTIO_PILOT_PORT", "ISTIO_CP_AUTH", "ISTIO_SVC_IP", "ISTIO_CUSTOM_IP_TABLES", "ISTIO_AGENT_FLAGS", "ISTIO_BOOTSTRAP", "ISTIO_BOOTSTRAP_OVERRIDE",
        "ISTIO_CPU_LIMIT", "ISTIO_DELTA_XDS", "ISTIO_DUAL_STACK", "ISTIO_ENVOY_ENABLE_CORE_DUMP", "ISTIO_ENABLE_HTTP2_PROBING", "ISTIO_KUBE_APP_PROBERS",
        "ISTIO_PROMETHEUS_ANNOTATIONS", "ISTIO_AGENT_ENABLE_WASM_REMOTE_LOAD_CONVERSION", "ISTIO_WASM_MAX_BINARY_SIZE_BYTES", "ISTIO_GPRC_MAXRECVMSGSIZE",
        "ISTIO_GPRC_MAXSTREAMS", "ISTIO_INBOUND_INTERCEPTION_MODE", "ISTIO_INBOUND_TPROXY_MARK", "ISTIO_INBOUND_TPROXY_ROUTE_TABLE", "ISTIO_INBOUND_PORTS",
        "ISTIO_LOCAL_EXCLUDE_PORTS", "ISTIO_SERVICE_CIDR", "ISTIO_SERVICE_EXCLUDE_CIDR", "ISTIO_OUTBOUND_PORTS", "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE",
        "ISTIO_EXCLUDE_INTERFACES", "ISTIO_OUTBOUND_OWNER_GROUPS", "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
        "ISTIO_AGENT_DUAL_STACK", "ISTIO_VERSION", "ISTIO_CFG", "ISTIOD_SAN");

    public static void Report(SettingReader settings)
    {
        foreach ((string name, Setting setting) in settings.Environment.All)
        {
            if (s_known.TryGetValue(name, out string? right)) { settings.Warn(name, setting.Origin, "is read by nothing", $"Write {right}"); }
            else if (IsUnknownIstio(name)) { settings.Warn(name, setting.Origin, "is not a setting of the agent", "Correct the name, or remove the line"); }
        }
    }

    private static bool IsUnknownIstio(string name) =>
        name.StartsWith("ISTIO_", StringComparison.Ordinal) && !name.StartsWith("ISTIO_META_", StringComparison.Ordinal)
        && !name.StartsWith("ISTIO_METAJSON_", StringComparison.Ordinal) && !s_istio.Contains(name);
}
