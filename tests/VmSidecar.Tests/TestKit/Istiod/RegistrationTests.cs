using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.EnvoyApi.Endpoints;
using VmSidecar.Grpc;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Istiod.Peers;
using VmSidecar.TestKit.Istiod.Registration;

using Xunit;

namespace VmSidecar.Tests.TestKit.Istiod;

/// <summary>Auto-registration, health and the endpoints that follow from them.</summary>
public sealed class RegistrationTests
{
    private static readonly string[] Wanted = ["outbound|80|vm|nginx.example.com"];

    [Theory]
    [InlineData(IstiodVersion.V1_10, GrpcStatusCode.Unknown)]
    [InlineData(IstiodVersion.V1_31, GrpcStatusCode.FailedPrecondition)]
    public async Task An_unknown_group_ends_the_stream(object version, object code)
    {
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync(new IstiodOptions { Version = (IstiodVersion)version });
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("CDS", node: IstiodPeer.Node(group: "vm-app"));
        Assert.Equal(
            new GrpcStatus((GrpcStatusCode)code, "auto-registration WorkloadEntry of vm1.vm-ns failed: cannot find WorkloadGroup vm-ns/vm-app"),
            await ads.EndAsync());
    }

    [Fact]
    public async Task The_entry_is_named_and_labelled_as_the_group_and_the_node_say()
    {
        await using Scene scene = await Scene.OpenAsync(new ManualTimeProvider(TimeProvider.System.GetUtcNow()));
        WorkloadEntry entry = scene.Istiod.Registry.Entries.Single();
        Assert.Equal("nginx-10.99.0.2", entry.Name);
        Assert.Equal("vm", entry.ServiceAccount);
        Assert.Equal("vm", entry.Labels["class"]);
        Assert.Equal("nginx", entry.Labels["app"]);
        Assert.Equal("nginx", entry.Annotations[WorkloadAnnotations.Group]);
        Assert.Equal("true", entry.Annotations[WorkloadAnnotations.HealthChecks]);
        Assert.True(entry.IsConnected);
        Assert.False(entry.IsOffered); // a probe, and no report yet
    }

    [Fact]
    public async Task A_VM_is_an_endpoint_only_while_it_reports_health()
    {
        await using Scene scene = await Scene.OpenAsync(new ManualTimeProvider(TimeProvider.System.GetUtcNow()));
        Assert.Equal(0, Endpoints(await scene.Ads.NextAsync()));
        await scene.Ads.AskAsync("istio-health-is-a-type-url", node: null); // an unknown type is met with silence
        await scene.Ads.AskAsync(XdsTypes.Health);
        Assert.Equal(1, Endpoints(await scene.Ads.NextAsync()));
        await scene.Ads.AskAsync(XdsTypes.Health, error: "status code was not from [200,400), bad code 503");
        Assert.Equal(0, Endpoints(await scene.Ads.NextAsync()));
        Assert.Equal("status code was not from [200,400), bad code 503", scene.Istiod.Registry.Entries.Single().Healthy!.Message);
        Assert.Empty(scene.Istiod.Violations);
    }

    [Fact]
    public async Task An_entry_outlives_its_last_stream_by_the_grace_period_and_is_kept_if_the_VM_returns()
    {
        var time = new ManualTimeProvider(TimeProvider.System.GetUtcNow());
        await using Scene scene = await Scene.OpenAsync(time);
        await scene.Ads.DisposeAsync();
        await scene.Istiod.UntilAsync(i => !i.Registry.Entries.Single().IsConnected, "disconnect");
        await using (AdsPeer second = await scene.Peer.AdsAsync())
        {
            await second.AskAsync("CDS", node: Scene.Vm());
            await second.NextAsync();
            time.Advance(TimeSpan.FromSeconds(11)); // the timer was void
            Assert.True(scene.Istiod.Registry.Entries.Single().IsConnected);
        }
        await scene.Istiod.UntilAsync(i => !i.Registry.Entries.Single().IsConnected, "second disconnect");
        time.Advance(TimeSpan.FromSeconds(10));
        await scene.Istiod.UntilAsync(i => i.Registry.Entries.IsEmpty, "removal");
        Assert.Equal(["create", "disconnect", "connect", "disconnect", "delete"], scene.Istiod.Registry.History.Select(h => h.Split(' ')[0]));
    }

    [Fact]
    public async Task A_second_stream_without_the_group_never_touches_the_entry()
    {
        await using Scene scene = await Scene.OpenAsync(new ManualTimeProvider(TimeProvider.System.GetUtcNow()));
        await using (AdsPeer own = await scene.Peer.AdsAsync())
        {
            await own.AskAsync("NDS", node: IstiodPeer.Node(ScenarioMesh.Namespace, "vm"));
            await own.NextAsync();
            Assert.Equal(2, scene.Istiod.Streams.Length);
        }
        await scene.Istiod.UntilAsync(i => i.Streams.Length == 1, "own stream closed");
        Assert.Equal(["create istio-demo/nginx-10.99.0.2"], scene.Istiod.Registry.History);
    }

    private static int Endpoints(DiscoveryResponse? response) =>
        ClusterLoadAssignment.Parser.ParseFrom(response!.Resources.Single().Value).Endpoints.Sum(e => e.LbEndpoints.Count);

    /// <summary>An istiod with the scenario's mesh and one registered VM stream that watches its own endpoints.</summary>
    private sealed class Scene(FakeIstiod istiod, IstiodPeer peer, AdsPeer ads) : IAsyncDisposable
    {
        public FakeIstiod Istiod => istiod;
        public IstiodPeer Peer => peer;
        public AdsPeer Ads => ads;

        public static EnvoyApi.Core.Node Vm() => IstiodPeer.Node(
            ScenarioMesh.Namespace, "vm", group: "nginx", probe: true,
            more: m => m.Fields["LABELS"] = Value.ForStruct(new Struct { Fields = { ["class"] = Value.ForString("vm"), ["app"] = Value.ForString("nginx") } }));

        public static async Task<Scene> OpenAsync(ManualTimeProvider time)
        {
            var istiod = new FakeIstiod(new IstiodOptions { Time = time }) { Mesh = ScenarioMesh.With("10.99.0.3") };
            istiod.Registry.Add(ScenarioMesh.VmGroup);
            await istiod.StartAsync();
            IstiodPeer peer = IstiodPeer.WithToken(istiod, ScenarioMesh.Namespace, "vm");
            AdsPeer ads = await peer.AdsAsync();
            await ads.AskAsync("EDS", Wanted, Vm());
            await istiod.UntilAsync(i => i.Registry.Entries.Length == 1, "registration");
            return new Scene(istiod, peer, ads);
        }

        public async ValueTask DisposeAsync()
        {
            await ads.DisposeAsync();
            await peer.DisposeAsync();
            await istiod.DisposeAsync();
        }
    }
}
