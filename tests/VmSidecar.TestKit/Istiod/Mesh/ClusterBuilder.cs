using System.Globalization;

using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Clusters;
using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Types;
using VmSidecar.EnvoyApi.Udpa;

namespace VmSidecar.TestKit.Istiod.Mesh;

/// <summary>CDS for one node: outbound clusters with subsets, inbound ones, the three fixed ones. Pure.</summary>
internal static class ClusterBuilder
{
    private const uint NoLimit = uint.MaxValue;

    public static string Outbound(MeshPort port, string subset, string host) => string.Create(CultureInfo.InvariantCulture, $"outbound|{port.Number}|{subset}|{host}");

    public static string Inbound(MeshPort port) => string.Create(CultureInfo.InvariantCulture, $"inbound|{port.Target}||");

    public static IEnumerable<Cluster> All(MeshView view)
    {
        foreach (MeshService service in view.Model.Services)
        {
            foreach (MeshPort port in service.Ports)
            {
                yield return OutboundCluster(view, service, port, "");
                foreach (MeshSubset subset in view.SubsetsOf(service)) { yield return OutboundCluster(view, service, port, subset.Name); }
            }
        }
        yield return new Cluster { Name = "BlackHoleCluster", AltStatName = view.IsOld ? "" : "BlackHoleCluster;", Type = Cluster.Types.DiscoveryType.Static, ConnectTimeout = Seconds(10) };
        yield return OriginalDestination(view, "PassthroughCluster", bound: false);
        yield return OriginalDestination(view, view.InboundPassthrough, bound: true);
        foreach (MeshPort port in view.InboundPorts) { yield return OriginalDestination(view, Inbound(port), bound: true); }
    }

    private static Cluster OutboundCluster(MeshView view, MeshService service, MeshPort port, string subset)
    {
        string name = Outbound(port, subset, service.Host);
        var cluster = new Cluster
        {
            Name = name,
            Type = Cluster.Types.DiscoveryType.Eds,
            EdsClusterConfig = new Cluster.Types.EdsClusterConfig { EdsConfig = Shapes.OverAds(), ServiceName = name },
            ConnectTimeout = Seconds(10),
            LbPolicy = view.IsOld ? Cluster.Types.LbPolicy.RoundRobin : Cluster.Types.LbPolicy.LeastRequest,
            CircuitBreakers = Unlimited(view),
            Metadata = Describe(view, service, port, subset),
        };
        if (!view.IsOld)
        {
            cluster.CommonLbConfig = new Cluster.Types.CommonLbConfig { HealthyPanicThreshold = new Percent() };
            cluster.AltStatName = name + ";";
        }
        if (view.Model.IstioFilters && !view.IsOld) { cluster.Filters.Add(MetadataExchange()); }
        if (view.Model.Mtls == MtlsMode.Disable || service.IsExternal || view.Model.PlainHosts.Contains(service.Host)) { return cluster; }
        string sni = string.Create(CultureInfo.InvariantCulture, $"outbound_.{port.Number}_.{subset}_.{service.Host}");
        cluster.TransportSocketMatches.Add(new Cluster.Types.TransportSocketMatch
        {
            Name = "tlsMode-istio",
            Match = Shapes.Fields(("tlsMode", Value.ForString("istio"))),
            TransportSocket = Shapes.ClientTls(sni, view.IdentitiesOf(service), view.IsOld),
        });
        cluster.TransportSocketMatches.Add(new Cluster.Types.TransportSocketMatch
        {
            Name = "tlsMode-disabled",
            Match = new Struct(),
            TransportSocket = Shapes.Plain(bare: view.IsOld && view.Model.IstioFilters),
        });
        return cluster;
    }

    /// <summary>Goes where the client wanted; inbound ones from 127.0.0.6, which the capture rules let pass.</summary>
    private static Cluster OriginalDestination(MeshView view, string name, bool bound) => new()
    {
        Name = name,
        AltStatName = view.IsOld ? "" : name == view.InboundPassthrough ? "PassthroughCluster;" : name + ";",
        Filters = { view.Model.IstioFilters && !view.IsOld && !bound ? [MetadataExchange()] : [] },
        Type = Cluster.Types.DiscoveryType.OriginalDst,
        ConnectTimeout = Seconds(10),
        LbPolicy = Cluster.Types.LbPolicy.ClusterProvided,
        CircuitBreakers = Unlimited(view),
        UpstreamBindConfig = bound ? new BindConfig { SourceAddress = new SocketAddress { Address = "127.0.0.6", PortValue = 0 } } : null,
        TypedExtensionProtocolOptions =
        {
            ["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"] = Any.Pack(new EnvoyApi.Upstreams.HttpProtocolOptions
            {
                CommonHttpProtocolOptions = view.IsOld ? null : new EnvoyApi.Core.HttpProtocolOptions { IdleTimeout = Seconds(300) },
                UseDownstreamProtocolConfig = new EnvoyApi.Upstreams.HttpProtocolOptions.Types.UseDownstreamHttpConfig
                {
                    HttpProtocolOptions = new Http1ProtocolOptions(),
                    Http2ProtocolOptions = new Http2ProtocolOptions { MaxConcurrentStreams = view.IsOld ? 1073741824 : null },
                },
            }),
        },
    };

    private static Metadata Describe(MeshView view, MeshService service, MeshPort port, string subset)
    {
        Struct one = Shapes.Fields(("host", Value.ForString(service.Host)), ("name", Value.ForString(service.Host)), ("namespace", Value.ForString(service.Namespace)));
        Metadata metadata = Shapes.Metadata("istio", ("services", Value.ForList(Value.ForStruct(one))));
        Google.Protobuf.Collections.MapField<string, Value> fields = metadata.FilterMetadata["istio"].Fields;
        if (view.SubsetsOf(service).Length > 0) { fields["config"] = Value.ForString(view.ConfigPath(service, "destination-rule")); }
        if (subset.Length > 0) { fields["subset"] = Value.ForString(subset); }
        if (view.IsOld) { fields["default_original_port"] = Value.ForNumber(port.Number); }
        if (!view.IsOld && service.IsExternal) { fields["external"] = Value.ForBool(true); }
        return metadata;
    }

    private static Filter MetadataExchange() => new()
    {
        Name = "istio.metadata_exchange",
        TypedConfig = Any.Pack(new TypedStruct
        {
            TypeUrl = "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
            Value = Shapes.Fields(("enable_discovery", Value.ForBool(true)), ("protocol", Value.ForString("istio-peer-exchange"))),
        }),
    };

    private static CircuitBreakers Unlimited(MeshView view) => new()
    {
        Thresholds =
        {
            new CircuitBreakers.Types.Thresholds { MaxConnections = NoLimit, MaxPendingRequests = NoLimit, MaxRequests = NoLimit, MaxRetries = NoLimit, TrackRemaining = view.IsOld },
        },
    };

    private static Duration Seconds(long seconds) => new() { Seconds = seconds };
}
