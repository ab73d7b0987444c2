using System.Text.Json.Nodes;

namespace VmSidecar.Configuration;

/// <summary>Decides <c>node.cluster</c>, the name this workload has in traces and in other proxies' statistics.</summary>
internal static class NodeCluster
{
    private const string Unset = "istio-proxy"; // the default serviceCluster, which names nobody

    public static string Of(JsonObject proxyConfig, JsonObject labels, JsonObject metadata, string ns)
    {
        switch (proxyConfig["tracingServiceName"]?.ToString())
        {
            case "APP_LABEL_AND_NAMESPACE": return AppAndNamespace(labels, metadata, ns);
            case "CANONICAL_NAME_ONLY": return Canonical(labels, metadata);
            case "CANONICAL_NAME_AND_NAMESPACE": return $"{Canonical(labels, metadata)}.{ns}";
        }
        string? given = proxyConfig["serviceCluster"]?.ToString();
        return given is { Length: > 0 } and not Unset ? given : AppAndNamespace(labels, metadata, ns);
    }

    private static string AppAndNamespace(JsonObject labels, JsonObject metadata, string ns)
    {
        string name = First(labels, "app", "app.kubernetes.io/name", "service.istio.io/canonical-name") ?? First(metadata, "WORKLOAD_NAME") ?? Unset;
        return ns.Length == 0 ? name : $"{name}.{ns}";
    }

    private static string Canonical(JsonObject labels, JsonObject metadata) =>
        First(labels, "service.istio.io/canonical-name", "app.kubernetes.io/name", "app") ?? First(metadata, "WORKLOAD_NAME") ?? Unset;

    private static string? First(JsonObject from, params ReadOnlySpan<string> keys)
    {
        foreach (string key in keys)
        {
            if (from[key]?.ToString() is { Length: > 0 } value) { return value; }
        }
        return null;
    }
}
