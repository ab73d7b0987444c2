using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace VmSidecar.Wire.Protobuf;

/// <summary>The type URLs a relay knows by name, and their short labels in logs and metrics.</summary>
internal static class XdsTypeUrl
{
    public const string Cluster = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    public const string Listener = "type.googleapis.com/envoy.config.listener.v3.Listener";
    public const string Endpoints = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    public const string Routes = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    public const string Secret = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
    public const string Extension = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
    public const string NameTable = "type.googleapis.com/istio.networking.nds.v1.NameTable";
    public const string ProxyConfig = "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig";
    public const string Health = "type.googleapis.com/istio.v1.HealthInformation";
    public const string Workload = "type.googleapis.com/istio.workload.Workload";
    public const string Address = "type.googleapis.com/istio.workload.Address";

    private const string EnvoyPrefix = "type.googleapis.com/envoy.";

    private static readonly (string Url, byte[] Utf8, string Label)[] Known =
    [
        Entry(Cluster, "CDS"), Entry(Listener, "LDS"), Entry(Endpoints, "EDS"), Entry(Routes, "RDS"), Entry(Secret, "SDS"), Entry(Extension, "ECDS"),
        Entry(NameTable, "NDS"), Entry(ProxyConfig, "PCDS"), Entry(Workload, "WDS"), Entry(Address, "WDS"), Entry(Health, Health),
    ];

    /// <summary>Short label of a type as the classic agent logs it; an unknown type is its own label.</summary>
    public static string Label(string url)
    {
        foreach ((string known, _, string label) in Known)
        {
            if (known == url) { return label; }
        }
        return url;
    }

    /// <summary>True for types Envoy consumes: the URL begins with <c>type.googleapis.com/envoy.</c>.</summary>
    public static bool IsEnvoys(string url) => url.StartsWith(EnvoyPrefix, StringComparison.Ordinal);

    /// <summary>The shared string for a known URL, so that reading an envelope makes no new one.</summary>
    public static bool TryShare(ReadOnlySpan<byte> utf8, [NotNullWhen(true)] out string? url)
    {
        foreach ((string known, byte[] bytes, _) in Known)
        {
            if (utf8.SequenceEqual(bytes))
            {
                url = known;
                return true;
            }
        }
        url = null;
        return false;
    }

    private static (string Url, byte[] Utf8, string Label) Entry(string url, string label) => (url, Encoding.UTF8.GetBytes(url), label);
}
