using System.Text.Json.Nodes;

using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.EnvoyApi.Routes;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Control;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Istiod.Peers;

using Xunit;

namespace VmSidecar.Tests.TestKit.Istiod;

/// <summary>What the lab sees and does through the control socket.</summary>
public sealed class IstiodControlTests
{
    [Fact]
    public async Task Entries_streams_and_routes_are_seen_and_steered_from_outside()
    {
        string folder = Directory.CreateTempSubdirectory("vsc-istiod-").FullName;
        CancellationToken stop = TestContext.Current.CancellationToken;
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync();
        istiod.Mesh = ScenarioMesh.With("10.99.0.3");
        istiod.Registry.Add(ScenarioMesh.VmGroup);
        var control = new IstiodControl(istiod, Path.Combine(folder, "control"));
        await control.StartAsync(stop);
        using var client = new IstiodControlClient(Path.Combine(folder, "control"));
        await using var peer = new IstiodPeer(istiod) { Token = (string?)(await client.PostAsync("/token?namespace=istio-demo&account=vm", stop))["token"] };
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("RDS", ["80"], IstiodPeer.Node(ScenarioMesh.Namespace, "vm", group: "nginx", more: m => m.Fields["LABELS"] =
            Value.ForStruct(new Struct { Fields = { ["class"] = Value.ForString("vm") } })));
        Assert.Equal("outbound|80||nginx.example.com", Destination(await ads.NextAsync()));

        await client.RouteAsync("vm", stop);
        Assert.Equal("outbound|80|vm|nginx.example.com", Destination(await ads.NextAsync()));
        await client.RouteAsync("docker", stop);
        Assert.Equal("outbound|80|docker|nginx.example.com", Destination(await ads.NextAsync()));
        await client.RouteAsync("both", stop);
        Assert.Equal("outbound|80||nginx.example.com", Destination(await ads.NextAsync()));
        await Assert.ThrowsAsync<InvalidOperationException>(() => client.RouteAsync("nobody", stop));

        JsonNode entry = (await client.EntriesAsync(stop)).Single()!;
        Assert.Equal("nginx-10.99.0.2", (string?)entry["name"]);
        Assert.Equal("vm", (string?)entry["labels"]!["class"]);
        JsonNode stream = (await client.StreamsAsync(stop)).Single()!;
        Assert.Equal("spiffe://cluster.local/ns/istio-demo/sa/vm", (string?)stream["identity"]);
        Assert.Equal("Stale", (string?)stream["types"]!["RDS"]);
        Assert.Empty(await client.ViolationsAsync(stop));
        await control.DisposeAsync();
        Assert.Empty(Directory.GetFiles(folder));
        Directory.Delete(folder);
    }

    [Fact]
    public async Task A_plaintext_port_has_no_CA_and_registers_nobody()
    {
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync(new IstiodOptions { Plaintext = true });
        istiod.Registry.Add(ScenarioMesh.VmGroup);
        await using var channel = new VmSidecar.Grpc.GrpcChannel(VmSidecar.Grpc.GrpcChannelOptions.For(istiod.Target));
        VmSidecar.Grpc.GrpcException unknown = await Assert.ThrowsAsync<VmSidecar.Grpc.GrpcException>(() => channel.UnaryAsync(
            VmSidecar.TestKit.Istiod.Authentication.CertificateService.Method, ReadOnlyMemory<byte>.Empty, [], VmSidecar.TestKit.Test.Deadline, TestContext.Current.CancellationToken));
        Assert.Equal(VmSidecar.Grpc.GrpcStatusCode.Unimplemented, unknown.Status.Code);
        await using var ads = new AdsPeer(await channel.OpenAsync(AdsService.Sotw, [], TestContext.Current.CancellationToken), delta: false);
        await ads.AskAsync("CDS", node: IstiodPeer.Node(ScenarioMesh.Namespace, "vm", group: "nginx"));
        Assert.Equal(new VmSidecar.Grpc.GrpcStatus(VmSidecar.Grpc.GrpcStatusCode.Unknown, "registration of WorkloadEntry requires a verified identity"), await ads.EndAsync());
    }

    private static string Destination(DiscoveryResponse? response) => RouteConfiguration.Parser.ParseFrom(response!.Resources.Single().Value)
        .VirtualHosts.Single(h => h.Name.StartsWith(ScenarioMesh.Host, StringComparison.Ordinal)).Routes[0].Route_.Cluster;
}
