using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Clusters;
using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.EnvoyApi.Endpoints;
using VmSidecar.EnvoyApi.Http;
using VmSidecar.EnvoyApi.Listeners;
using VmSidecar.EnvoyApi.Names;
using VmSidecar.EnvoyApi.Routes;
using VmSidecar.EnvoyApi.Tcp;
using VmSidecar.EnvoyApi.Tls;

using Xunit;

namespace VmSidecar.Tests.TestKit;

/// <summary>The doubles' own Envoy API against what real istiods sent: nothing is lost, and what the doubles read is where they look.</summary>
public class EnvoyApiTests
{
    private static readonly Dictionary<string, MessageParser> Parsers = new MessageParser[]
    {
        Cluster.Parser, ClusterLoadAssignment.Parser, Listener.Parser, RouteConfiguration.Parser, NameTable.Parser,
        HttpConnectionManager.Parser, TcpProxy.Parser, UpstreamTlsContext.Parser, DownstreamTlsContext.Parser,
    }.ToDictionary(p => "type.googleapis.com/" + p.ParseFrom(ByteString.Empty).Descriptor.FullName);

    public static TheoryData<string> Files() => [.. Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "Recorded"), "*.binpb", SearchOption.AllDirectories)
        .Select(f => Path.GetRelativePath(AppContext.BaseDirectory, f)).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Files))]
    public void Every_recorded_resource_survives_a_round_trip_at_its_length(string file)
    {
        byte[] bytes = File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, file));
        List<Any> resources;
        if (file.Contains("delta", StringComparison.Ordinal))
        {
            DeltaDiscoveryResponse response = DeltaDiscoveryResponse.Parser.ParseFrom(bytes);
            Assert.Equal(bytes.Length, response.CalculateSize());
            resources = [.. response.Resources.Select(r => r.Resource_)];
        }
        else
        {
            DiscoveryResponse response = DiscoveryResponse.Parser.ParseFrom(bytes);
            Assert.Equal(bytes.Length, response.CalculateSize());
            resources = [.. response.Resources];
        }
        Assert.NotEmpty(resources);
        foreach (Any any in resources)
        {
            IMessage message = Parsers[any.TypeUrl].ParseFrom(any.Value);
            Assert.Equal(any.Value.Length, message.CalculateSize());
            Assert.Equal(message, Parsers[any.TypeUrl].ParseFrom(message.ToByteString()));
        }
    }

    [Theory]
    [InlineData("istiod-1.10-sotw", "240.240.0.3")]
    [InlineData("istiod-1.31-sotw", "240.240.214.135")]
    public void What_the_doubles_read_is_where_they_look(string folder, string virtualIp)
    {
        DiscoveryResponse listeners = DiscoveryResponse.Parser.ParseFrom(File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Recorded", folder, "02-Listener.binpb")));
        List<Listener> all = [.. listeners.Resources.Select(r => Listener.Parser.ParseFrom(r.Value))];
        Assert.True(all.Single(l => l.Name == "virtualOutbound").UseOriginalDst);
        HttpConnectionManager http = HttpConnectionManager.Parser.ParseFrom(all.Single(l => l.Name == "0.0.0.0_80").FilterChains[0].Filters[0].TypedConfig.Value);
        Assert.Equal("80", http.Rds.RouteConfigName);
        FilterChain mtls = all.Single(l => l.Name == "virtualInbound").FilterChains.First(c => c.FilterChainMatch.TransportProtocol == "tls");
        DownstreamTlsContext tls = DownstreamTlsContext.Parser.ParseFrom(mtls.TransportSocket.TypedConfig.Value);
        Assert.Equal("default", tls.CommonTlsContext.TlsCertificateSdsSecretConfigs[0].Name);
        Assert.Equal("spiffe://cluster.local/", tls.CommonTlsContext.CombinedValidationContext.DefaultValidationContext.MatchSubjectAltNames[0].Prefix);
        DiscoveryResponse names = DiscoveryResponse.Parser.ParseFrom(File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Recorded", folder, "04-NameTable.binpb")));
        Assert.Equal([virtualIp], NameTable.Parser.ParseFrom(names.Resources[0].Value).Table["nginx.example.com"].Ips);
    }
}
