using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Clusters;
using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.EnvoyApi.Http;
using VmSidecar.EnvoyApi.Listeners;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Istiod.Peers;
using VmSidecar.TestKit.Istiod.Registration;

using Xunit;

namespace VmSidecar.Tests.TestKit.Istiod;

/// <summary>What the double builds against what real istiods sent for the same configuration: that an Envoy took those is why it takes these.</summary>
public sealed class MeshShapeTests
{
    [Theory]
    [InlineData(IstiodVersion.V1_10)]
    [InlineData(IstiodVersion.V1_31)]
    public void Names_and_virtual_addresses_are_those_recorded(object version) =>
        Assert.Equal(Recorded(version, "04-NameTable"), Built(version, XdsTypes.NameTable));

    [Theory]
    [InlineData(IstiodVersion.V1_10)]
    [InlineData(IstiodVersion.V1_31)]
    public void Endpoints_are_those_recorded(object version)
    {
        Dictionary<string, IMessage> recorded = Recorded(version, "01-ClusterLoadAssignment");
        Assert.Equal(recorded, Built(version, XdsTypes.Endpoint, recorded.Keys));
    }

    [Theory]
    [InlineData(IstiodVersion.V1_10)]
    [InlineData(IstiodVersion.V1_31)]
    public void Clusters_are_those_recorded(object version)
    {
        Dictionary<string, IMessage> recorded = Recorded(version, "00-Cluster"), built = Built(version, XdsTypes.Cluster);
        Assert.Equal(recorded.Keys.Order(StringComparer.Ordinal), built.Keys.Order(StringComparer.Ordinal));
        foreach (string name in recorded.Keys.Where(n => !n.EndsWith("www.external.example", StringComparison.Ordinal))) // resolved by DNS there
        {
            Assert.Equal(recorded[name], built[name]);
        }
    }

    [Fact]
    public void Routes_are_those_recorded()
    {
        MeshModel model = MeshEntries.For(IstiodVersion.V1_10).RouteTo("nginx.example.com", "vm");
        Dictionary<string, IMessage> recorded = Recorded(IstiodVersion.V1_10, "03-RouteConfiguration"), built = Built(IstiodVersion.V1_10, XdsTypes.Route, recorded.Keys, model);
        foreach (string name in recorded.Keys)
        {
            var real = (EnvoyApi.Routes.RouteConfiguration)recorded[name];
            var ours = (EnvoyApi.Routes.RouteConfiguration)built[name];
            Assert.Equal(real.VirtualHosts.OrderBy(v => v.Name, StringComparer.Ordinal), ours.VirtualHosts.OrderBy(v => v.Name, StringComparer.Ordinal));
        }
        Assert.Equal(Recorded(IstiodVersion.V1_31, "03-RouteConfiguration"), Built(IstiodVersion.V1_31, XdsTypes.Route, ["27"]));
    }

    [Theory]
    [InlineData(IstiodVersion.V1_10)]
    [InlineData(IstiodVersion.V1_31)]
    public void Listeners_have_the_chains_matches_and_TLS_of_those_recorded(object version)
    {
        Dictionary<string, IMessage> recorded = Recorded(version, "02-Listener"), built = Built(version, XdsTypes.Listener);
        Assert.Equal(recorded.Keys.Order(StringComparer.Ordinal), built.Keys.Order(StringComparer.Ordinal));
        foreach ((string name, IMessage message) in recorded)
        {
            Listener real = (Listener)message, ours = (Listener)built[name];
            Assert.Equal(real.Address, ours.Address);
            Assert.Equal(real.TrafficDirection, ours.TrafficDirection);
            Assert.Equal(real.UseOriginalDst, ours.UseOriginalDst);
            Assert.Equal(real.BindToPort, ours.BindToPort);
            Assert.Equal(real.DeprecatedV1, ours.DeprecatedV1);
            Assert.Equal(real.ListenerFilters.Select(f => f.Name), ours.ListenerFilters.Select(f => f.Name));
            Assert.Equal(Chains(real), Chains(ours));
        }
    }

    [Theory]
    [InlineData(MtlsMode.Strict, "tls")]
    [InlineData(MtlsMode.Permissive, "tls raw_buffer")]
    [InlineData(MtlsMode.Disable, "raw_buffer")]
    public void The_VMs_own_port_is_guarded_by_the_mode(object mode, string transports)
    {
        var source = Source(IstiodVersion.V1_31, ScenarioMesh.With("10.99.0.2") with { Mtls = (MtlsMode)mode }); // the pod's address is the node's
        Listener inbound = Listener.Parser.ParseFrom(source.Generate(Node(), XdsTypes.Listener, null)!.Single(l => l.Name == "virtualInbound").Resource.Value);
        FilterChain[] own = [.. inbound.FilterChains.Where(c => c.FilterChainMatch.DestinationPort == 80)];
        Assert.Equal(transports.Split(' '), own.Select(c => c.FilterChainMatch.TransportProtocol));
        HttpConnectionManager http = HttpConnectionManager.Parser.ParseFrom(own[0].Filters.Single().TypedConfig.Value);
        Assert.Equal("inbound|80||", http.RouteConfig.VirtualHosts[0].Routes[0].Route_.Cluster);
        Assert.Contains(source.Generate(Node(), XdsTypes.Cluster, null)!, c => c.Name == "inbound|80||");
    }

    [Fact]
    public void Without_Istios_own_filters_nothing_is_left_that_a_stock_Envoy_does_not_know()
    {
        foreach (IstiodVersion version in new[] { IstiodVersion.V1_10, IstiodVersion.V1_31 })
        {
            var source = Source(version, ScenarioMesh.With("10.99.0.2").RouteTo(ScenarioMesh.Host, "vm"));
            string all = string.Concat(new[] { XdsTypes.Cluster, XdsTypes.Listener }.SelectMany(t => source.Generate(Node(), t, null)!).Select(r => r.Resource.Value.ToStringUtf8()));
            Assert.DoesNotContain("istio.alpn", all, StringComparison.Ordinal);
            Assert.DoesNotContain("metadata_exchange", all, StringComparison.Ordinal);
            Assert.DoesNotContain("istio_authn", all, StringComparison.Ordinal);
            foreach (NamedResource cluster in source.Generate(Node(), XdsTypes.Cluster, null)!)
            {
                Assert.All(Cluster.Parser.ParseFrom(cluster.Resource.Value).TransportSocketMatches, m => Assert.NotNull(m.TransportSocket.TypedConfig));
            }
        }
    }

    private static IEnumerable<(string, FilterChainMatch?, EnvoyApi.Core.TransportSocket?, string)> Chains(Listener listener) =>
        from chain in listener.FilterChains.Append(listener.DefaultFilterChain ?? new FilterChain())
        select (chain.Name, chain.FilterChainMatch, chain.TransportSocket, string.Join(',', chain.Filters.Select(f => f.Name)));

    private static Dictionary<string, IMessage> Recorded(object version, string file)
    {
        string path = Path.Combine(AppContext.BaseDirectory, "Recorded", (IstiodVersion)version == IstiodVersion.V1_10 ? "istiod-1.10-sotw" : "istiod-1.31-sotw", file + ".binpb");
        return Decode(DiscoveryResponse.Parser.ParseFrom(File.ReadAllBytes(path)).Resources);
    }

    private static Dictionary<string, IMessage> Built(object version, string type, IReadOnlyCollection<string>? names = null, MeshModel? model = null) =>
        Decode(Source((IstiodVersion)version, model ?? MeshEntries.For((IstiodVersion)version)).Generate(Node(), type, names)!.Select(r => r.Resource));

    private static Dictionary<string, IMessage> Decode(IEnumerable<Any> resources) => resources.ToDictionary(RecordedSource.NameOf, r => Canonical.Of(r.TypeUrl switch
    {
        XdsTypes.Cluster => (IMessage)Cluster.Parser.ParseFrom(r.Value),
        XdsTypes.Endpoint => EnvoyApi.Endpoints.ClusterLoadAssignment.Parser.ParseFrom(r.Value),
        XdsTypes.Listener => Listener.Parser.ParseFrom(r.Value),
        XdsTypes.Route => EnvoyApi.Routes.RouteConfiguration.Parser.ParseFrom(r.Value),
        _ => EnvoyApi.Names.NameTable.Parser.ParseFrom(r.Value),
    }));

    private static MeshSource Source(IstiodVersion version, MeshModel model)
    {
        var options = new IstiodOptions { Version = version };
        return new MeshSource(options, new WorkloadRegistry(options, () => { }), () => "") { Model = model };
    }

    private static ProxyNode Node() => ProxyNode.Read(IstiodPeer.Node(), out _)!;
}
