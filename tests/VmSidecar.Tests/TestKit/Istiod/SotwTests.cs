using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.EnvoyApi.Names;
using VmSidecar.Grpc;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Istiod.Peers;

using Xunit;

namespace VmSidecar.Tests.TestKit.Istiod;

/// <summary>State-of-the-world ADS of the double: when it answers, with what, and what it refuses.</summary>
public sealed class SotwTests
{
    private static readonly string[] Nginx = ["outbound|80||nginx.example.com"];
    private static readonly string[] WithSubset = ["outbound|80||nginx.example.com", "outbound|80|vm|nginx.example.com"];

    [Theory]
    [InlineData(IstiodVersion.V1_10)]
    [InlineData(IstiodVersion.V1_31)]
    public async Task Names_alone_are_answered_at_once_and_PCDS_is_met_with_silence(object version)
    {
        await using FakeIstiod istiod = await StartAsync((IstiodVersion)version);
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("PCDS", node: IstiodPeer.Node());
        await ads.AskAsync("NDS");
        DiscoveryResponse names = (await ads.NextAsync())!;
        Assert.Equal(XdsTypes.NameTable, names.TypeUrl);
        Assert.StartsWith("240.240.", NameTable.Parser.ParseFrom(names.Resources[0].Value).Table["nginx.example.com"].Ips[0], StringComparison.Ordinal);
        bool old = (IstiodVersion)version == IstiodVersion.V1_10;
        Assert.Equal(old, names.ControlPlane is not null);
        Assert.Equal(!old, names.Nonce.StartsWith(names.VersionInfo, StringComparison.Ordinal));
        await ads.AskAsync("NDS", answers: names);
        await istiod.UntilAsync(i => i.Streams.Single().State("NDS") == SyncState.Synced, "NDS acknowledged");
        Assert.Empty(istiod.Violations);
    }

    [Theory]
    [InlineData(IstiodVersion.V1_10, 2)]
    [InlineData(IstiodVersion.V1_31, 1)]
    public async Task Added_names_are_answered_alone_by_the_newer_and_with_all_by_the_older(object version, int resources)
    {
        await using FakeIstiod istiod = await StartAsync((IstiodVersion)version);
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("EDS", Nginx, IstiodPeer.Node());
        DiscoveryResponse first = (await ads.NextAsync())!;
        Assert.Single(first.Resources);
        await ads.AskAsync("EDS", WithSubset, answers: first);
        Assert.Equal(resources, (await ads.NextAsync())!.Resources.Count);
    }

    [Fact]
    public async Task Acks_stale_nonces_rejections_and_unsubscriptions_are_met_with_silence()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("CDS", node: IstiodPeer.Node());
        DiscoveryResponse clusters = (await ads.NextAsync())!;
        istiod.Push("CDS");
        DiscoveryResponse pushed = (await ads.NextAsync())!;
        Assert.NotEqual(clusters.VersionInfo, pushed.VersionInfo);
        await ads.AskAsync("CDS", answers: clusters); // older than the push
        await ads.AskAsync("CDS", answers: pushed); // ACK
        await ads.AskAsync("EDS", Nginx);
        DiscoveryResponse endpoints = (await ads.NextAsync())!;
        Assert.Equal(XdsTypes.Endpoint, endpoints.TypeUrl); // nothing came between
        await ads.AskAsync("EDS", Nginx, answers: endpoints, error: "no");
        await ads.AskAsync("EDS", [], answers: endpoints); // nothing wanted any more
        await istiod.UntilAsync(i => i.Streams.Single().Types.Length == 1, "EDS unsubscribed");
        istiod.Push();
        Assert.Equal(XdsTypes.Cluster, (await ads.NextAsync())!.TypeUrl);
        Assert.Empty(istiod.Violations);
    }

    [Fact]
    public async Task A_rejection_is_remembered_until_the_next_ack_and_never_resent()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("LDS", node: IstiodPeer.Node());
        DiscoveryResponse listeners = (await ads.NextAsync())!;
        await ads.AskAsync("LDS", answers: listeners, error: "bad filter");
        await istiod.UntilAsync(i => i.Streams.Single().State("LDS") == SyncState.Error, "NACK");
        Assert.Equal("bad filter", istiod.Streams.Single().Types.Single().LastError);
        istiod.Push("LDS");
        DiscoveryResponse again = (await ads.NextAsync())!;
        await ads.AskAsync("LDS", answers: again);
        await istiod.UntilAsync(i => i.Streams.Single().State("LDS") == SyncState.Synced, "ACK after NACK");
    }

    [Fact]
    public async Task A_push_goes_out_in_order_under_one_version()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync();
        string[] order = ["NDS", "RDS", "LDS", "EDS", "CDS"];
        foreach (string type in order)
        {
            await ads.AskAsync(type, type switch { "RDS" => ["80"], "EDS" => Nginx, _ => [] }, type == "NDS" ? IstiodPeer.Node() : null);
            await ads.NextAsync();
        }
        istiod.Push();
        List<DiscoveryResponse> pushed = [];
        for (int i = 0; i < order.Length; i++) { pushed.Add((await ads.NextAsync())!); }
        Assert.Equal(["CDS", "EDS", "LDS", "RDS", "NDS"], pushed.Select(p => XdsTypes.Short(p.TypeUrl)));
        Assert.Single(pushed.Select(p => p.VersionInfo).Distinct());
        Assert.Equal(order.Length, pushed.Select(p => p.Nonce).Distinct().Count());
    }

    [Fact]
    public async Task Endpoints_subscribed_before_clusters_are_answered_once_more()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("EDS", Nginx, IstiodPeer.Node());
        DiscoveryResponse endpoints = (await ads.NextAsync())!;
        await ads.AskAsync("CDS");
        await ads.NextAsync();
        await ads.AskAsync("EDS", Nginx, answers: endpoints); // looks like an ACK, but Envoy waits for it
        Assert.Equal(XdsTypes.Endpoint, (await ads.NextAsync())!.TypeUrl);
    }

    [Theory]
    [InlineData(IstiodVersion.V1_10, GrpcStatusCode.InvalidArgument, "missing node ID")]
    [InlineData(IstiodVersion.V1_31, GrpcStatusCode.InvalidArgument, "missing node information")]
    public async Task A_stream_without_a_node_ends(object version, object code, string text)
    {
        await using FakeIstiod istiod = await StartAsync((IstiodVersion)version);
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("NDS");
        Assert.Equal(new GrpcStatus((GrpcStatusCode)code, text), await ads.EndAsync());
        Assert.Single(istiod.Violations);
    }

    [Theory]
    [InlineData(IstiodVersion.V1_10, GrpcStatusCode.Unknown)]
    [InlineData(IstiodVersion.V1_31, GrpcStatusCode.InvalidArgument)]
    public async Task A_node_id_needs_four_parts(object version, object code)
    {
        await using FakeIstiod istiod = await StartAsync((IstiodVersion)version);
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("NDS", node: new Node { Id = "vm1" });
        Assert.Equal(new GrpcStatus((GrpcStatusCode)code, "missing parts in the service node \"vm1\""), await ads.EndAsync());
    }

    [Fact]
    public async Task A_node_of_another_namespace_than_the_identity_is_refused()
    {
        await using FakeIstiod istiod = await StartAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("NDS", node: IstiodPeer.Node(ns: "other"));
        Assert.Equal(
            new GrpcStatus(GrpcStatusCode.PermissionDenied, "authorization failed: no identities ([spiffe://cluster.local/ns/vm-ns/sa/vm-sa]) matched other/vm-sa"),
            await ads.EndAsync());
    }

    [Theory]
    [InlineData("NACK")]
    [InlineData("ACK")]
    [InlineData("foreign nonce")]
    public async Task What_confuses_or_crashes_the_real_one_is_a_violation(string which)
    {
        await using FakeIstiod istiod = await StartAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("CDS", node: IstiodPeer.Node());
        await ads.NextAsync();
        switch (which)
        {
            case "NACK": await ads.AskAsync("NDS", error: "no"); break;
            case "ACK": await ads.AskAsync("NDS", nonce: "2026-01-01T00:00:00Z/1x"); break;
            default: await ads.AskAsync("CDS", nonce: "of another stream"); break;
        }
        await istiod.UntilAsync(i => i.Violations.Length > 0, "a violation");
        if (which == "NACK") { Assert.Equal(GrpcStatusCode.Unavailable, (await ads.EndAsync()).Code); }
    }

    [Theory]
    [InlineData("istiod-1.10-sotw", IstiodVersion.V1_10)]
    [InlineData("istiod-1.31-sotw", IstiodVersion.V1_31)]
    public async Task Recorded_resources_pass_through_unchanged(string set, object version)
    {
        await using FakeIstiod istiod = await StartAsync((IstiodVersion)version);
        istiod.Source = RecordedSource.Load(set);
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync();
        bool first = true;
        foreach (string file in Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "Recorded", set), "*.binpb").Order(StringComparer.Ordinal))
        {
            DiscoveryResponse recorded = DiscoveryResponse.Parser.ParseFrom(await File.ReadAllBytesAsync(file));
            string[] names = XdsTypes.IsWildcard(recorded.TypeUrl) ? [] : [.. recorded.Resources.Select(RecordedSource.NameOf)];
            await ads.AskAsync(recorded.TypeUrl, names, first ? IstiodPeer.Node() : null);
            first = false;
            Assert.Equal(recorded.Resources, (await ads.NextAsync())!.Resources);
        }
    }

    private static async Task<FakeIstiod> StartAsync(IstiodVersion version = IstiodVersion.V1_31)
    {
        FakeIstiod istiod = await FakeIstiod.StartedAsync(new IstiodOptions { Version = version });
        istiod.Mesh = ScenarioMesh.With("10.99.0.3");
        return istiod;
    }
}
