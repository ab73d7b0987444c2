using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Listeners;

namespace VmSidecar.TestKit.Istiod.Mesh;

/// <summary>The inbound half of LDS: 15006 with chains per own port and for everything else, by mTLS mode. Pure.</summary>
internal static class InboundBuilder
{
    public const int InboundPort = 15006;

    private static readonly string[] HttpOverMtls = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
    private static readonly string[] TcpOverMtls = ["istio-peer-exchange", "istio"];
    private static readonly string[] PlainHttp = ["http/1.1", "h2c"];
    private static readonly string[] OldPlainHttp = ["http/1.0", .. PlainHttp];

    public static Listener VirtualInbound(MeshView view)
    {
        int? quiet = view.IsOld ? null : InboundPort;
        return new Listener
        {
            Name = "virtualInbound",
            Address = Shapes.At("0.0.0.0", InboundPort),
            TrafficDirection = TrafficDirection.Inbound,
            ListenerFiltersTimeout = Shapes.Zero,
            ContinueOnListenerFiltersTimeout = true,
            ListenerFilters = { FilterBuilder.OriginalDestination(), FilterBuilder.TlsInspector(quiet), FilterBuilder.HttpInspector(quiet) },
            FilterChains =
            {
                new FilterChain
                {
                    Name = "virtualInbound-blackhole", FilterChainMatch = new FilterChainMatch { DestinationPort = InboundPort }, Filters = { FilterBuilder.MetadataExchange(view), FilterBuilder.Tcp(view, "BlackHoleCluster") },
                },
                view.InboundPorts.SelectMany(p => OwnPort(view, p)),
                EverythingElse(view),
            },
        };
    }

    /// <summary>A port this node serves: the protocol is known, so only TLS or not has to be told apart.</summary>
    private static IEnumerable<FilterChain> OwnPort(MeshView view, MeshPort port)
    {
        string cluster = ClusterBuilder.Inbound(port);
        bool http = port.Protocol == MeshProtocol.Http;
        Filter Last() => http ? FilterBuilder.InboundHttp(view, cluster, port.Target) : FilterBuilder.Tcp(view, cluster);
        string name = "0.0.0.0_" + port.Target.ToString(System.Globalization.CultureInfo.InvariantCulture);
        if (view.Model.Mtls != MtlsMode.Disable)
        {
            string[] alpn = view.Model.Mtls == MtlsMode.Strict ? [] : [.. TcpOverMtls, .. http ? HttpOverMtls : []];
            yield return Chain(view, name, port.Target, "tls", alpn, Last(), tls: true, http);
        }
        if (view.Model.Mtls != MtlsMode.Strict) { yield return Chain(view, name, port.Target, "raw_buffer", [], Last(), tls: false, http); }
    }

    /// <summary>Ports nobody declared: let through to the application, with mTLS where the peer offers or the mode demands it.</summary>
    private static IEnumerable<FilterChain> EverythingElse(MeshView view)
    {
        string cluster = view.InboundPassthrough;
        Filter Http() => FilterBuilder.InboundHttp(view, cluster, 0);
        Filter Tcp() => FilterBuilder.Tcp(view, cluster);
        const string HttpName = "virtualInbound-catchall-http", TcpName = "virtualInbound";
        bool strict = view.Model.Mtls == MtlsMode.Strict;
        bool mtls = view.Model.Mtls != MtlsMode.Disable;
        if (mtls) { yield return Chain(view, HttpName, null, "tls", HttpOverMtls, Http(), tls: true, http: true); }
        if (!strict) { yield return Chain(view, HttpName, null, "raw_buffer", view.IsOld ? OldPlainHttp : PlainHttp, Http(), tls: false, http: true); }
        if (mtls) { yield return Chain(view, TcpName, null, "tls", strict ? [] : TcpOverMtls, Tcp(), tls: true, http: false); }
        if (strict) { yield break; }
        yield return Chain(view, TcpName, null, "raw_buffer", [], Tcp(), tls: false, http: false);
        yield return Chain(view, TcpName, null, "tls", [], Tcp(), tls: false, http: false); // TLS of the application's own
    }

    private static FilterChain Chain(MeshView view, string name, int? port, string transport, string[] alpn, Filter last, bool tls, bool http)
    {
        var match = new FilterChainMatch { TransportProtocol = transport, ApplicationProtocols = { alpn } };
        if (port is { } own) { match.DestinationPort = (uint)own; }
        else if (view.IsOld) { match.PrefixRanges.Add(new CidrRange { AddressPrefix = "0.0.0.0", PrefixLen = 0 }); }
        return new FilterChain
        {
            Name = name,
            FilterChainMatch = match,
            Filters = { FilterBuilder.MetadataExchange(view), last },
            TransportSocket = tls ? Shapes.ServerTls(view.TrustDomain, http, view.IsOld) : null,
        };
    }
}
