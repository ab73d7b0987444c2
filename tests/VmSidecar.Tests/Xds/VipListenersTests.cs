using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using VmSidecar.Dns;
using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Listeners;
using VmSidecar.EnvoyApi.Tcp;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>Listeners for TCP to the agent's own virtual IPs: what is copied, what not, and that copies go with their origin.</summary>
public sealed class VipListenersTests
{
    private const string Http = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    private static readonly VipService B = new("b.example", "240.241.0.2", 3306), C = new("c.example", "240.241.0.3", 3306), A = new("a.example", "240.241.0.1", 3306);
    private List<VipService> _services = [A, B];

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Each_virtual_ip_but_the_oldest_hosts_gets_a_copy_that_leads_to_its_host(bool delta)
    {
        VipListeners vips = new(() => _services);
        Listener origin = Tcp(3306, "a.example");
        origin.FilterChains.Insert(0, new FilterChain { FilterChainMatch = new FilterChainMatch { PrefixRanges = { new CidrRange { AddressPrefix = "10.0.0.1" } } }, Filters = { To("BlackHoleCluster") } });
        origin.DefaultFilterChain = new FilterChain { Filters = { To("PassthroughCluster") } };
        byte[] message = Response(delta, [origin, Tcp(5432, "a.example")]);
        byte[] more = vips.Add(Envelope(delta, message), message)!;
        Assert.Equal(message, more[..message.Length]); // what istiod sent is not touched
        Listener[] all = Read(delta, more, out string[] removed);
        Assert.Equal(["0.0.0.0_3306", "0.0.0.0_5432", "240.241.0.2_3306"], all.Select(l => l.Name));
        Listener copy = all[^1];
        Assert.Equal(("240.241.0.2", 3306u), (copy.Address.SocketAddress.Address, copy.Address.SocketAddress.PortValue));
        TcpProxy tcp = TcpProxy.Parser.ParseFrom(Assert.Single(Assert.Single(copy.FilterChains).Filters).TypedConfig.Value);
        Assert.Equal(("outbound|3306||b.example", "outbound|3306||b.example", TimeSpan.FromHours(1)), (tcp.Cluster, tcp.StatPrefix, tcp.IdleTimeout.ToTimeSpan()));
        Assert.Null(copy.DefaultFilterChain);
        Assert.False(copy.BindToPort);
        Assert.Empty(removed);
    }

    [Fact]
    public void Where_names_or_tls_lead_the_way_nothing_is_copied()
    {
        VipListeners vips = new(() => _services);
        Listener http = Tcp(3306, "a.example");
        http.FilterChains.Add(new FilterChain { Filters = { new Filter { TypedConfig = new Any { TypeUrl = "type.googleapis.com/" + Http } } } });
        Listener tls = Tcp(3306, "a.example");
        tls.FilterChains[0].FilterChainMatch = new FilterChainMatch { ServerNames = { "a.example" } };
        Listener own = Tcp(3306, "a.example");
        own.Name = "240.240.0.9_3306"; // istiod gave an address
        foreach (Listener listener in new[] { http, tls, own, Tcp(3307, "a.example") })
        {
            byte[] message = Response(delta: false, [listener]);
            Assert.Null(vips.Add(Envelope(false, message), message));
        }
    }

    [Fact]
    public void Copies_go_with_their_origin_and_with_their_virtual_ip()
    {
        VipListeners vips = new(() => _services);
        _services = [A, B, C];
        Assert.Equal(["0.0.0.0_3306", "240.241.0.2_3306", "240.241.0.3_3306"], Pass([Tcp(3306, "a.example")], [], out string[] removed));
        Assert.Empty(removed);
        _services = [A, C];
        Assert.Equal(["0.0.0.0_3306", "240.241.0.3_3306"], Pass([Tcp(3306, "a.example")], [], out removed)); // b has lost its address
        Assert.Equal(["240.241.0.2_3306"], removed);
        Assert.Empty(Pass([], ["0.0.0.0_3306"], out removed));
        Assert.Equal(["0.0.0.0_3306", "240.241.0.3_3306"], removed);
        byte[] quiet = Response(true, [], ["0.0.0.0_3306"]);
        Assert.Null(vips.Add(Envelope(true, quiet), quiet)); // nothing is left to take back

        string[] Pass(Listener[] listeners, string[] gone, out string[] takenBack)
        {
            byte[] message = Response(true, listeners, gone);
            return [.. Read(true, vips.Add(Envelope(true, message), message)!, out takenBack).Select(l => l.Name)];
        }
    }

    [Fact]
    public void After_a_reconnect_istiods_removal_of_a_copy_does_not_stand_beside_the_copy()
    {
        byte[] message = Response(true, [Tcp(3306, "a.example")], ["240.241.0.2_3306", "240.241.0.9_3306"]);
        byte[] more = new VipListeners(() => _services).Add(Envelope(true, message), message)!;
        Assert.Equal(["0.0.0.0_3306", "240.241.0.2_3306"], Read(true, more, out string[] removed).Select(l => l.Name));
        Assert.Equal(["240.241.0.9_3306"], removed); // a leftover of another run goes
    }

    [Theory]
    [InlineData("istiod-1.10-sotw", false)]
    [InlineData("istiod-1.31-sotw", false)]
    [InlineData("istiod-1.31-delta", true)]
    public void Real_listeners_stay_as_they_are_where_istiod_gave_addresses(string recording, bool delta)
    {
        byte[] message = File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Recorded", recording, "02-Listener.binpb"));
        Assert.Null(new VipListeners(() => [new("mongo.example.com", "240.241.0.5", 27017), new("nginx.example.com", "240.241.0.6", 80)]).Add(Envelope(delta, message), message));
    }

    [Theory]
    [InlineData(false, int.MaxValue)]
    [InlineData(true, int.MaxValue)]
    [InlineData(false, 64)] // large responses pass in pieces; listeners are gathered for this
    [InlineData(true, 64)]
    public async Task The_relay_adds_them_to_listeners_and_to_nothing_else(bool delta, int large)
    {
        await using var bench = new RelayBench(delta, names: false, largeMessage: large, vips: () => _services);
        (PairedCall envoy, PairedCall istiod) = await CutThroughTests.OpenAsync(bench, delta);
        byte[] clusters = Talk.Response(delta, XdsTypeUrl.Cluster, "n1", new byte[100]), listeners = Response(delta, [Tcp(3306, "a.example")]);
        await istiod.Server.SayAsync(clusters);
        await istiod.Server.SayAsync(listeners);
        Assert.Equal(clusters, await envoy.Client.ReadBytesAsync());
        Assert.Equal(["0.0.0.0_3306", "240.241.0.2_3306"], Read(delta, (await envoy.Client.ReadBytesAsync())!, out _).Select(l => l.Name));
    }

    private static XdsEnvelope Envelope(bool delta, byte[] message)
    {
        Assert.True(XdsEnvelope.TryRead(delta ? XdsMessageKind.DeltaResponse : XdsMessageKind.Response, message, out XdsEnvelope? envelope));
        return envelope;
    }

    private static Filter To(string cluster) => new()
    {
        Name = "envoy.filters.network.tcp_proxy",
        TypedConfig = new Any { TypeUrl = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", Value = new TcpProxy { StatPrefix = cluster, Cluster = cluster, IdleTimeout = Duration.FromTimeSpan(TimeSpan.FromHours(1)) }.ToByteString() },
    };

    private static Listener Tcp(uint port, string host) => new()
    {
        Name = $"0.0.0.0_{port}",
        Address = new Address { SocketAddress = new SocketAddress { Address = "0.0.0.0", PortValue = port } },
        BindToPort = false,
        FilterChains = { new FilterChain { Filters = { To($"outbound|{port}||{host}") } } },
    };

    private static byte[] Response(bool delta, Listener[] listeners, string[]? removed = null)
    {
        var message = new ProtoWriter().String(4, XdsTypeUrl.Listener);
        foreach (Listener listener in listeners)
        {
            ProtoWriter any = new ProtoWriter().String(1, XdsTypeUrl.Listener).Bytes(2, listener.ToByteArray());
            message.Message(2, delta ? new ProtoWriter().String(1, "v1").Message(2, any).String(3, listener.Name) : any);
        }
        foreach (string name in removed ?? []) { message.String(6, name); }
        return message.ToArray();
    }

    private static Listener[] Read(bool delta, byte[] message, out string[] removed)
    {
        List<Listener> listeners = [];
        List<string> gone = [];
        var fields = new ProtoReader(message);
        while (fields.Next())
        {
            if (fields.Is(6)) { gone.Add(System.Text.Encoding.UTF8.GetString(fields.Bytes)); }
            if (!fields.Is(2)) { continue; }
            ReadOnlySpan<byte> any = delta ? ProtoField.Last(fields.Bytes, 2) : fields.Bytes;
            Listener read = Listener.Parser.ParseFrom(ProtoField.Last(any, 2));
            if (delta) { Assert.Equal((read.Name, "v1"), (ProtoField.Text(fields.Bytes, 3), ProtoField.Text(fields.Bytes, 1))); }
            listeners.Add(read);
        }
        removed = [.. gone];
        return [.. listeners];
    }
}
