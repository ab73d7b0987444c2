using VmSidecar.Dns;
using VmSidecar.Wire.Protobuf;
using Xunit;

namespace VmSidecar.Tests.Dns;

public sealed class ClusterHostsTests
{
    [Fact]
    public void Clusters_on_their_way_to_Envoy_name_the_hosts()
    {
        var sink = new Hosts();
        var clusters = new ClusterHosts(sink, new ServicePorts());
        clusters.Observe(delta: false, [.. Sotw("outbound|80||a.example.net", 3), .. Sotw("outbound|443||a.example.net", 1), .. Sotw("outbound|80||b.example.net", 4), .. Sotw("BlackHoleCluster", 0)]);
        Assert.Equal(["a.example.net"], sink.Last);
        clusters.Observe(delta: true, Delta("outbound|80||c.example.net", 2));
        Assert.Equal(["a.example.net", "c.example.net"], sink.Last.Order());
        clusters.Observe(delta: true, [.. DnsMessages.Field(6, "outbound|80||a.example.net"), .. DnsMessages.Field(6, "outbound|443||a.example.net")]);
        Assert.Equal(["c.example.net"], sink.Last);
        clusters.Observe(delta: true, Delta("outbound|80||c.example.net", 4)); // the same cluster, now with another type
        Assert.Empty(sink.Last);
        clusters.Observe(delta: false, [0x12, 0x7f, 1]); // broken: Envoy will say so
        Assert.Empty(sink.Last);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_push_that_repeats_what_is_known_tells_nobody(bool delta)
    {
        var sink = new Hosts();
        var clusters = new ClusterHosts(sink, new ServicePorts());
        string far = "outbound|80||" + string.Join('.', Enumerable.Repeat(new string('a', 60), 9)) + ".example.net"; // longer than names are
        byte[] One(string name, int type) => delta ? Delta(name, type) : Sotw(name, type);
        byte[] all = [.. One("outbound|80||a.example.net", 3), .. One(far, 3), .. One("outbound|80||passthrough.example.net", 4), .. One("BlackHoleCluster", 0)];
        clusters.Observe(delta, []);
        Assert.Equal(1, sink.Times); // that there is none is told too
        clusters.Observe(delta, all);
        clusters.Observe(delta, all);
        Assert.Equal(2, sink.Times);
        Assert.Equal(2, sink.Last.Count);
        clusters.Observe(delta, [.. all, .. One("outbound|80||passthrough.example.net", 3)]);
        Assert.Contains("passthrough.example.net", sink.Last);
        clusters.Observe(delta, delta ? DnsMessages.Field(6, "outbound|80||a.example.net") : [.. One(far, 3)]); // SotW: what is known and not named is gone
        Assert.DoesNotContain("a.example.net", sink.Last);
        Assert.Contains(sink.Last, h => h.StartsWith("aaa", StringComparison.Ordinal));
    }

    [Fact]
    public void A_known_cluster_costs_no_memory()
    {
        byte[] response = Delta("outbound|80||a.example.net", 3);
        var clusters = new ClusterHosts(new Hosts(), new ServicePorts());
        clusters.Observe(delta: true, response);
        ReadOnlySpan<byte> resource = response.AsSpan(2);
        Assert.Equal(response.Length - 2, response[1]); // tag and length before it
        ClusterHosts.Observation seen = clusters.Begin(XdsTypeUrl.Cluster, delta: true)!;
        seen.Resource(resource);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 1000; i++) { seen.Resource(resource); }
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    [Fact]
    public void A_stream_of_an_Envoy_that_holds_nothing_begins_anew()
    {
        var sink = new Hosts();
        var clusters = new ClusterHosts(sink, new ServicePorts());
        clusters.Observe(delta: true, [.. Delta("outbound|80||gone.example.net", 3), .. Delta("outbound|80||a.example.net", 3)]);
        clusters.Begins(XdsTypeUrl.Cluster, holdsNothing: false); // istiod names what is gone
        clusters.Observe(delta: true, Delta("outbound|80||b.example.net", 3));
        Assert.Equal(["a.example.net", "b.example.net", "gone.example.net"], sink.Last.Order());
        clusters.Begins(XdsTypeUrl.Cluster, holdsNothing: true); // deleted while there was no stream: nobody names it
        clusters.Observe(delta: true, [.. Delta("outbound|80||a.example.net", 3), .. Delta("outbound|80||b.example.net", 3)]);
        Assert.Equal(["a.example.net", "b.example.net"], sink.Last.Order());
        clusters.Observe(delta: true, Delta("outbound|80||c.example.net", 3));
        Assert.Equal(["a.example.net", "b.example.net", "c.example.net"], sink.Last.Order());
        byte[] Route(string name, string host) => DnsMessages.Field(2, [.. DnsMessages.Field(3, name), .. DnsMessages.Field(2, DnsMessages.Field(2, [.. DnsMessages.Field(1, name), .. DnsMessages.Field(2, DnsMessages.Field(1, host))]))]);
        clusters.ObserveRoutes(delta: true, Route("80", "old.example.net:80"));
        Assert.Contains("old.example.net", sink.Last);
        clusters.Begins(XdsTypeUrl.Routes, holdsNothing: true);
        clusters.ObserveRoutes(delta: true, Route("8080", "new.example.net:8080"));
        Assert.DoesNotContain("old.example.net", sink.Last);
        Assert.Contains("new.example.net", sink.Last);
    }

    [Theory]
    [InlineData("istiod-1.10-sotw", false)]
    [InlineData("istiod-1.31-sotw", false)]
    [InlineData("istiod-1.31-delta", true)]
    public async Task Hosts_are_read_from_the_clusters_of_real_istiods(string recording, bool delta)
    {
        byte[] response = await File.ReadAllBytesAsync(Path.Combine(AppContext.BaseDirectory, "Recorded", recording, "00-Cluster.binpb"));
        var sink = new Hosts();
        new ClusterHosts(sink, new ServicePorts()).Observe(delta, response);
        Assert.Superset(new HashSet<string> { "nginx.example.com", "mongo.example.com", "www.external.example", "vm-app.vm-ns.svc.cluster.local" }, sink.Last.ToHashSet());
        Assert.DoesNotContain(sink.Last, h => h.Contains('*', StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("istiod-1.10-sotw", false)]
    [InlineData("istiod-1.31-sotw", false)]
    [InlineData("istiod-1.31-delta", true)]
    public async Task Routes_of_real_istiods_name_no_host_that_clusters_do_not(string recording, bool delta)
    {
        string folder = Path.Combine(AppContext.BaseDirectory, "Recorded", recording);
        var sink = new Hosts();
        var clusters = new ClusterHosts(sink, new ServicePorts());
        clusters.Observe(delta, await File.ReadAllBytesAsync(Path.Combine(folder, "00-Cluster.binpb")));
        string[] before = [.. sink.Last.Order(StringComparer.Ordinal)];
        clusters.ObserveRoutes(delta, await File.ReadAllBytesAsync(Path.Combine(folder, "03-RouteConfiguration.binpb")));
        Assert.Equal(before, sink.Last.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Routes_name_hosts_that_have_no_cluster_of_their_own()
    {
        var sink = new Hosts();
        var clusters = new ClusterHosts(sink, new ServicePorts());
        clusters.Observe(delta: false, [.. Sotw("outbound|80||a.example.net", 3), .. Sotw("outbound|80||passthrough.example.net", 4)]);
        byte[] Route(string name, params string[] hosts) => DnsMessages.Field(2, [.. DnsMessages.Field(1, name), .. hosts.SelectMany(h => DnsMessages.Field(2, DnsMessages.Field(1, h)))]);
        byte[] SotwRoute(string name, params string[] hosts) => DnsMessages.Field(2, Route(name, hosts));
        clusters.ObserveRoutes(delta: false, SotwRoute("80", "only.example.net:80", "passthrough.example.net:80", "*.wild.example.net:80", "192.0.2.1:80", "allow_any", "inbound|http|80", "a.example.net:80"));
        Assert.Equal(["a.example.net", "only.example.net"], sink.Last.Order());
        clusters.ObserveRoutes(delta: false, SotwRoute("8080", "other.example.net:8080")); // the route 80 is not in this message, and stays
        Assert.Equal(["a.example.net", "only.example.net", "other.example.net"], sink.Last.Order());
        clusters.ObserveRoutes(delta: true, DnsMessages.Field(2, [.. DnsMessages.Field(3, "80"), .. DnsMessages.Field(2, Route("80", "new.example.net:80"))]));
        Assert.Equal(["a.example.net", "new.example.net", "other.example.net"], sink.Last.Order());
        clusters.ObserveRoutes(delta: true, DnsMessages.Field(6, "8080"));
        Assert.Equal(["a.example.net", "new.example.net"], sink.Last.Order());
    }

    private static byte[] Any(string cluster, int type) => DnsMessages.Field(2, [.. DnsMessages.Field(1, cluster), .. type == 0 ? (byte[])[] : [0x10, (byte)type]]);

    private static byte[] Sotw(string cluster, int type) => DnsMessages.Field(2, Any(cluster, type));

    private static byte[] Delta(string cluster, int type) => DnsMessages.Field(2, [.. DnsMessages.Field(3, cluster), .. DnsMessages.Field(2, Any(cluster, type))]);

    private sealed class Hosts : IServiceHostSink
    {
        public IReadOnlyCollection<string> Last { get; private set; } = [];

        public int Times { get; private set; }

        public void Accept(IReadOnlyCollection<string> hosts) => (Last, Times) = (hosts, Times + 1);
    }
}
