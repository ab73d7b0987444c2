using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.Grpc;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Istiod.Peers;

using Xunit;

namespace VmSidecar.Tests.TestKit.Istiod;

/// <summary>Incremental ADS of the double.</summary>
public sealed class DeltaTests
{
    private const string All = "outbound|80||nginx.example.com", Vm = "outbound|80|vm|nginx.example.com";

    [Fact]
    public async Task The_older_istiod_knows_no_delta_and_keeps_the_connection()
    {
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync(new IstiodOptions { Version = IstiodVersion.V1_10 });
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync(delta: true);
        Assert.Equal(new GrpcStatus(GrpcStatusCode.Unimplemented, "not implemented"), await ads.EndAsync());
        Assert.Equal(1, istiod.Front.Open);
    }

    [Fact]
    public async Task An_empty_first_request_means_everything_and_the_name_table_has_no_name()
    {
        (FakeIstiod istiod, IstiodPeer peer, AdsPeer ads) = await OpenAsync();
        await using (istiod) await using (peer) await using (ads)
        {
            await ads.AskDeltaAsync("NDS", node: IstiodPeer.Node());
            DeltaDiscoveryResponse names = (await ads.NextDeltaAsync())!;
            Assert.Equal("", names.Resources.Single().Name);
            await ads.AskDeltaAsync("NDS", answers: names);
            await istiod.UntilAsync(i => i.Streams.Single().State("NDS") == SyncState.Synced, "NDS acknowledged");
            Assert.Empty(istiod.Violations);
        }
    }

    [Fact]
    public async Task Names_come_and_go_one_by_one()
    {
        (FakeIstiod istiod, IstiodPeer peer, AdsPeer ads) = await OpenAsync();
        await using (istiod) await using (peer) await using (ads)
        {
            await ads.AskDeltaAsync("EDS", [All], node: IstiodPeer.Node());
            DeltaDiscoveryResponse first = (await ads.NextDeltaAsync())!;
            Assert.Equal([All], first.Resources.Select(r => r.Name));
            await ads.AskDeltaAsync("EDS", answers: first);
            await ads.AskDeltaAsync("EDS", [Vm]);
            DeltaDiscoveryResponse second = (await ads.NextDeltaAsync())!;
            Assert.Equal([Vm], second.Resources.Select(r => r.Name));
            await ads.AskDeltaAsync("EDS", answers: second);
            istiod.Push("EDS");
            Assert.Equal(2, (await ads.NextDeltaAsync())!.Resources.Count);
        }
    }

    [Fact]
    public async Task What_the_client_still_held_and_is_gone_is_removed()
    {
        (FakeIstiod istiod, IstiodPeer peer, AdsPeer ads) = await OpenAsync();
        await using (istiod) await using (peer) await using (ads)
        {
            await ads.AskDeltaAsync("CDS", node: IstiodPeer.Node(), held: ["outbound|80||gone.example.com", All]);
            DeltaDiscoveryResponse clusters = (await ads.NextDeltaAsync())!;
            Assert.Equal(["outbound|80||gone.example.com"], clusters.RemovedResources);
            Assert.Contains(clusters.Resources, r => r.Name == All);
            istiod.Mesh = new MeshModel();
            istiod.Push("CDS");
            DeltaDiscoveryResponse after = (await ads.NextDeltaAsync())!;
            Assert.Contains(All, after.RemovedResources);
            Assert.DoesNotContain(after.Resources, r => r.Name == All);
        }
    }

    [Fact]
    public async Task An_answer_to_a_cluster_request_is_followed_by_the_endpoints_already_wanted()
    {
        (FakeIstiod istiod, IstiodPeer peer, AdsPeer ads) = await OpenAsync();
        await using (istiod) await using (peer) await using (ads)
        {
            await ads.AskDeltaAsync("EDS", [All], node: IstiodPeer.Node());
            await ads.NextDeltaAsync();
            await ads.AskDeltaAsync("CDS");
            Assert.Equal(XdsTypes.Cluster, (await ads.NextDeltaAsync())!.TypeUrl);
            Assert.Equal(XdsTypes.Endpoint, (await ads.NextDeltaAsync())!.TypeUrl);
        }
    }

    [Fact]
    public async Task Recorded_resources_pass_through_unchanged()
    {
        (FakeIstiod istiod, IstiodPeer peer, AdsPeer ads) = await OpenAsync();
        istiod.Source = RecordedSource.Load("istiod-1.31-delta");
        await using (istiod) await using (peer) await using (ads)
        {
            bool first = true;
            foreach (string file in Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "Recorded", "istiod-1.31-delta"), "*.binpb").Order(StringComparer.Ordinal))
            {
                DeltaDiscoveryResponse recorded = DeltaDiscoveryResponse.Parser.ParseFrom(await File.ReadAllBytesAsync(file));
                string[] names = XdsTypes.IsWildcard(recorded.TypeUrl) ? [] : [.. recorded.Resources.Select(r => r.Name)];
                await ads.AskDeltaAsync(recorded.TypeUrl, names, node: first ? IstiodPeer.Node() : null);
                first = false;
                Assert.Equal(recorded.Resources, (await ads.NextDeltaAsync())!.Resources);
            }
        }
    }

    private static async Task<(FakeIstiod Istiod, IstiodPeer Peer, AdsPeer Ads)> OpenAsync()
    {
        FakeIstiod istiod = await FakeIstiod.StartedAsync();
        istiod.Mesh = ScenarioMesh.With("10.99.0.3");
        IstiodPeer peer = IstiodPeer.WithToken(istiod);
        return (istiod, peer, await peer.AdsAsync(delta: true));
    }
}
