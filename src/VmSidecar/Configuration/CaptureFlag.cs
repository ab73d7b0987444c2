using System.Collections.Immutable;

namespace VmSidecar.Configuration;

/// <summary>One input of the capture rules: flag, short flag, and the variables it may come from, the weakest first.</summary>
internal sealed record CaptureFlag(string Name, char Short, bool IsSwitch, ImmutableArray<string> Variables)
{
    /// <summary>Names the ports that no wildcard captures, in place of those found.</summary>
    public const string NeverCapture = "VMSIDECAR_NEVER_CAPTURE_PORTS";

    /// <summary>Every flag of <c>istio-iptables</c>, 1.10 to current, and ours. Those without effect here are accepted, because scripts pass them.</summary>
    public static readonly ImmutableArray<CaptureFlag> All =
    [
        Value("envoy-port", 'p', "ENVOY_PORT"),
        Value("inbound-capture-port", 'z', "INBOUND_CAPTURE_PORT"),
        Value("inbound-tunnel-port", 'e', "INBOUND_TUNNEL_PORT"),
        Value("proxy-uid", 'u', "PROXY_UID"),
        Value("proxy-gid", 'g', "PROXY_GID"),
        Value("istio-inbound-interception-mode", 'm', "ISTIO_INBOUND_INTERCEPTION_MODE"),
        Value("istio-inbound-tproxy-mark", 't', "ISTIO_INBOUND_TPROXY_MARK"),
        Value("istio-inbound-tproxy-route-table", 'r', "ISTIO_INBOUND_TPROXY_ROUTE_TABLE"),
        Value("istio-inbound-ports", 'b', "ISTIO_INBOUND_PORTS"),
        Value("istio-local-exclude-ports", 'd', "ISTIO_LOCAL_EXCLUDE_PORTS"),
        Value("istio-exclude-interfaces", 'c', "ISTIO_EXCLUDE_INTERFACES"),
        Value("istio-service-cidr", 'i', "ISTIO_SERVICE_CIDR"),
        Value("istio-service-exclude-cidr", 'x', "ISTIO_SERVICE_EXCLUDE_CIDR"),
        Value("istio-outbound-ports", 'q', "ISTIO_OUTBOUND_PORTS"),
        Value("istio-local-outbound-ports-exclude", 'o', "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"),
        Value("kube-virt-interfaces", 'k', "KUBE_VIRT_INTERFACES"),
        Value("istio-outbound-owner-groups", '\0', "ISTIO_OUTBOUND_OWNER_GROUPS"),
        Value("istio-outbound-owner-groups-exclude", '\0', "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"),
        Value("istio-outbound-ipv4-loopback-cidr", '\0', "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR"),
        Value("force-iptables-binary", '\0', "FORCE_IPTABLES_BINARY"),
        Value("backend", '\0', "VMSIDECAR_IPTABLES_BACKEND"),
        Value("rules-compat", '\0', "VMSIDECAR_RULES_COMPAT"),
        Value("never-capture-ports", '\0', NeverCapture),
        Switch("dry-run", 'n', "DRY_RUN"),
        Switch("skip-rule-apply", '\0', "SKIP_RULE_APPLY"),
        Switch("redirect-dns", '\0', "REDIRECT_DNS", "ISTIO_META_DNS_CAPTURE"),
        Switch("dns-conntrack-zone", '\0', "ISTIO_META_DNS_CONNTRACK_ZONE"),
        Switch("capture-all-dns", '\0', "CAPTURE_ALL_DNS"),
        Switch("drop-invalid", '\0', "DROP_INVALID", "INVALID_DROP"),
        Switch("dual-stack", '\0', "DUAL_STACK", "ISTIO_AGENT_DUAL_STACK", "ISTIO_DUAL_STACK"),
        Switch("cleanup-only", '\0', "CLEANUP_ONLY"),
        Switch("native-nftables", '\0', "NATIVE_NFTABLES"),
        Switch("run-validation", '\0', "RUN_VALIDATION"),
        Value("iptables-probe-port", '\0', "IPTABLES_PROBE_PORT"),
        Value("probe-timeout", '\0', "PROBE_TIMEOUT"),
        Value("failure-mode", '\0', "VMSIDECAR_FAILURE_MODE"),
        Value("dead-limit", '\0', "VMSIDECAR_DEAD_LIMIT"),
        Switch("exact", '\0', "VMSIDECAR_EXACT_RULES"),
        Switch("capture-container-bridges", '\0', "VMSIDECAR_CAPTURE_CONTAINER_BRIDGES"),
        .. Ignored,
    ];

    private static IEnumerable<CaptureFlag> Ignored =>
    [
        Switch("restore-format", 'f', "RESTORE_FORMAT"),
        Value("network-namespace", '\0', "NETWORK_NAMESPACE"),
        Switch("cni-mode", '\0', "CNI_MODE"),
        Switch("iptables-trace-logging", '\0', "IPTABLES_TRACE_LOGGING"),
        Value("iptables-version", '\0'),
        Switch("reconcile", '\0', "RECONCILE"),
        Switch("force-apply", '\0', "FORCE_APPLY"),
    ];

    private static CaptureFlag Value(string name, char letter, params ReadOnlySpan<string> variables) => new(name, letter, false, [.. variables]);

    private static CaptureFlag Switch(string name, char letter, params ReadOnlySpan<string> variables) => new(name, letter, true, [.. variables]);
}
