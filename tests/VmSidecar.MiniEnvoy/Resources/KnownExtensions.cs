using System.Collections.Frozen;

using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Core;

namespace VmSidecar.MiniEnvoy.Resources;

/// <summary>
/// What this data plane can load, by category; sent in node.extensions. Any other is refused as Envoy refuses an extension it was
/// not built with. Filters of access decisions (RBAC, JWT) are not listed: taking them without acting on them would open doors.
/// </summary>
internal static class KnownExtensions
{
    public const string Router = "envoy.filters.http.router";
    public const string Http = "envoy.filters.network.http_connection_manager";
    public const string Tcp = "envoy.filters.network.tcp_proxy";
    public const string OriginalDst = "envoy.filters.listener.original_dst";
    public const string TlsInspector = "envoy.filters.listener.tls_inspector";
    public const string HttpInspector = "envoy.filters.listener.http_inspector";
    public const string Tls = "envoy.transport_sockets.tls";
    public const string Plain = "envoy.transport_sockets.raw_buffer";

    private static readonly (string Category, string Name, string Type)[] Table =
    [
        ("envoy.filters.http", Router, "envoy.extensions.filters.http.router.v3.Router"),
        // observe or act on request headers that the lab does not send
        ("envoy.filters.http", "envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors"),
        ("envoy.filters.http", "envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault"),
        ("envoy.filters.http", "envoy.filters.http.grpc_stats", "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"),
        ("envoy.filters.network", Http, "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        ("envoy.filters.network", Tcp, "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"),
        ("envoy.filters.listener", OriginalDst, "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"),
        ("envoy.filters.listener", TlsInspector, "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"),
        ("envoy.filters.listener", HttpInspector, "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"),
        ("envoy.transport_sockets.downstream", Tls, "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
        ("envoy.transport_sockets.upstream", Tls, "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
        ("envoy.transport_sockets.downstream", Plain, "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"),
        ("envoy.transport_sockets.upstream", Plain, "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"),
        ("envoy.access_loggers", "envoy.access_loggers.file", "envoy.extensions.access_loggers.file.v3.FileAccessLog"),
        ("envoy.clusters", "envoy.cluster.static", ""),
        ("envoy.clusters", "envoy.cluster.eds", ""),
        ("envoy.clusters", "envoy.cluster.original_dst", ""),
        ("envoy.upstream_options", "envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"),
    ];

    private static readonly FrozenSet<string> Types = Table.Select(t => t.Category + " type.googleapis.com/" + t.Type).ToFrozenSet();

    public static IEnumerable<Extension> All => Table.Select(t =>
    {
        var extension = new Extension { Category = t.Category, Name = t.Name };
        if (t.Type.Length > 0) { extension.TypeUrls.Add(t.Type); }
        return extension;
    });

    /// <summary>Throws what Envoy says of an extension it does not have. Envoy goes by the type of the configuration, so there must be one.</summary>
    public static void Require(string category, string name, Any? configuration)
    {
        if (configuration is null || !Types.Contains(category + " " + configuration.TypeUrl))
        {
            throw new RejectedException($"Didn't find a registered implementation for '{name}' with type URL: '{configuration?.TypeUrl[(configuration.TypeUrl.LastIndexOf('/') + 1)..]}'");
        }
    }
}

/// <summary>A resource that Envoy would refuse; becomes part of a NACK.</summary>
internal sealed class RejectedException(string message) : Exception(message);
