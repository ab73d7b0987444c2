using System.Globalization;

using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Http;
using VmSidecar.EnvoyApi.HttpFilters;
using VmSidecar.EnvoyApi.ListenerFilters;
using VmSidecar.EnvoyApi.Listeners;
using VmSidecar.EnvoyApi.Tcp;
using VmSidecar.EnvoyApi.Types;
using VmSidecar.EnvoyApi.Udpa;

namespace VmSidecar.TestKit.Istiod.Mesh;

/// <summary>Network, HTTP and listener filters as the recorded listeners have them. Pure.</summary>
internal static class FilterBuilder
{
    public static Filter Tcp(MeshView view, string cluster)
    {
        var proxy = new TcpProxy { StatPrefix = cluster, Cluster = cluster };
        if (cluster != "BlackHoleCluster") { proxy.AccessLog.AddRange(Shapes.AccessLogs(view.Model)); }
        return Network("envoy.filters.network.tcp_proxy", proxy);
    }

    public static Filter OutboundHttp(MeshView view, int port)
    {
        string name = port.ToString(CultureInfo.InvariantCulture);
        HttpConnectionManager http = Http(view, $"outbound_0.0.0.0_{name}");
        http.Rds = new Rds { ConfigSource = Shapes.OverAds(), RouteConfigName = name };
        if (view.Model.IstioFilters)
        {
            http.HttpFilters.Insert(0, new HttpFilter { Name = "istio.alpn", TypedConfig = Any.Pack(new EnvoyApi.IstioAlpn.FilterConfig()) });
        }
        return Network("envoy.filters.network.http_connection_manager", http);
    }

    /// <summary>Inbound: the application learns the peer's identity from x-forwarded-client-cert.</summary>
    public static Filter InboundHttp(MeshView view, string cluster, int port)
    {
        HttpConnectionManager http = Http(view, port == 0 ? cluster : string.Create(CultureInfo.InvariantCulture, $"inbound_0.0.0.0_{port}"));
        http.RouteConfig = RouteBuilder.Inbound(view, cluster, port);
        http.ServerName = "istio-envoy";
        http.ForwardClientCertDetails = HttpConnectionManager.Types.ForwardClientCertDetails.AppendForward;
        http.SetCurrentClientCertDetails = new HttpConnectionManager.Types.SetCurrentClientCertDetails { Subject = true, Dns = true, Uri = true };
        if (view.Model.IstioFilters && view.IsOld)
        {
            http.HttpFilters.Insert(0, new HttpFilter { Name = "istio_authn", TypedConfig = Any.Pack(new EnvoyApi.IstioAuthn.FilterConfig()) });
        }
        return Network("envoy.filters.network.http_connection_manager", http);
    }

    /// <summary>1.31 puts it first in every inbound chain.</summary>
    public static IEnumerable<Filter> MetadataExchange(MeshView view) => !view.Model.IstioFilters || view.IsOld ? [] :
    [
        Network("istio.metadata_exchange", new TypedStruct
        {
            TypeUrl = "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
            Value = Shapes.Fields(("enable_discovery", Value.ForBool(true)), ("protocol", Value.ForString("istio-peer-exchange"))),
        }),
    ];

    public static ListenerFilter OriginalDestination() => Listener("envoy.filters.listener.original_dst", new OriginalDst());

    public static ListenerFilter TlsInspector(int? notOnPort = null) => Listener("envoy.filters.listener.tls_inspector", new TlsInspector(), notOnPort);

    public static ListenerFilter HttpInspector(int? notOnPort = null) => Listener("envoy.filters.listener.http_inspector", new HttpInspector(), notOnPort);

    private static HttpConnectionManager Http(MeshView view, string statPrefix)
    {
        var http = new HttpConnectionManager
        {
            StatPrefix = view.IsOld ? statPrefix : statPrefix + ";",
            UseRemoteAddress = false,
            NormalizePath = true,
            StreamIdleTimeout = Shapes.Zero,
            UpgradeConfigs = { new HttpConnectionManager.Types.UpgradeConfig { UpgradeType = "websocket" } },
            HttpFilters = { new HttpFilter { Name = "envoy.filters.http.router", TypedConfig = Any.Pack(new Router()) } },
        };
        http.AccessLog.AddRange(Shapes.AccessLogs(view.Model));
        return http;
    }

    private static Filter Network(string name, IMessage configuration) => new() { Name = name, TypedConfig = Any.Pack(configuration) };

    private static ListenerFilter Listener(string name, IMessage configuration, int? notOnPort = null) => new()
    {
        Name = name,
        TypedConfig = Any.Pack(configuration),
        FilterDisabled = notOnPort is { } port
            ? new ListenerFilterChainMatchPredicate { DestinationPortRange = new Int32Range { Start = port, End = port + 1 } }
            : null,
    };
}
