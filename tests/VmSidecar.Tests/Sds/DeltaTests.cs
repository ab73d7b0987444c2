using VmSidecar.Grpc;
using VmSidecar.Proto.Discovery;
using VmSidecar.Proto.Tls;
using VmSidecar.Sds;

using Xunit;

namespace VmSidecar.Tests.Sds;

public sealed class DeltaTests
{
    [Fact]
    public async Task Subscribes_pushes_what_changed_and_unsubscribes()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        bench.Set(1);
        await using SdsClient envoy = await bench.ConnectAsync(method: "DeltaSecrets");
        await envoy.SendAsync(Ask(subscribe: ["default", "ROOTCA"]));
        DeltaDiscoveryResponse both = await envoy.NextDeltaAsync();
        Assert.Equal(["default", "ROOTCA"], both.Resources.Select(r => r.Name));
        Assert.Equal("key1", SdsClient.Text(Secret.Parser.ParseFrom(both.Resources[0].Resource_.Value).TlsCertificate.PrivateKey));
        await envoy.SendAsync(new DeltaDiscoveryRequest { ResponseNonce = both.Nonce, TypeUrl = SecretMessages.TypeUrl });
        bench.Set(2);
        DeltaDiscoveryResponse pushed = await envoy.NextDeltaAsync();
        Assert.Equal("default", Assert.Single(pushed.Resources).Name);
        Assert.NotEqual(both.Resources[0].Version, pushed.Resources[0].Version);
        var unsubscribe = new DeltaDiscoveryRequest { TypeUrl = SecretMessages.TypeUrl, ResourceNamesUnsubscribe = { "default" } };
        await envoy.SendAsync(unsubscribe);
        await bench.TakenAsync(3);
        bench.Set(3, rootVersion: 2);
        Assert.Equal("ROOTCA", Assert.Single((await envoy.NextDeltaAsync()).Resources).Name);
    }

    [Fact]
    public async Task A_client_that_comes_back_is_not_sent_what_it_has()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        bench.Set(1);
        await using SdsClient before = await bench.ConnectAsync(method: "DeltaSecrets");
        await before.SendAsync(Ask(["default", "ROOTCA"]));
        DeltaDiscoveryResponse had = await before.NextDeltaAsync();
        bench.Set(2);
        await using SdsClient after = await bench.ConnectAsync(method: "DeltaSecrets");
        DeltaDiscoveryRequest again = Ask(["default", "ROOTCA"]);
        foreach (Resource resource in had.Resources) { again.InitialResourceVersions[resource.Name] = resource.Version; }
        await after.SendAsync(again);
        Assert.Equal("default", Assert.Single((await after.NextDeltaAsync()).Resources).Name); // the root is the same
    }

    [Fact]
    public async Task An_unknown_name_is_removed_and_the_stream_stays()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        bench.Set(1);
        await using SdsClient envoy = await bench.ConnectAsync(method: "DeltaSecrets");
        await envoy.SendAsync(Ask(["foo"]));
        DeltaDiscoveryResponse refused = await envoy.NextDeltaAsync();
        Assert.Equal(["foo"], refused.RemovedResources);
        Assert.Empty(refused.Resources);
        await envoy.SendAsync(new DeltaDiscoveryRequest { ResponseNonce = refused.Nonce, ErrorDetail = new Proto.Discovery.Status { Code = 3, Message = "no" } });
        await envoy.SendAsync(Ask(["default"]));
        Assert.Equal("default", Assert.Single((await envoy.NextDeltaAsync()).Resources).Name);
        Assert.Contains("Warning ads ADS:SDS: ACK ERROR 1 3:no", bench.Log.Lines);
    }

    [Fact]
    public async Task A_stream_without_a_node_ends()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        await using SdsClient envoy = await bench.ConnectAsync(method: "DeltaSecrets");
        await envoy.SendAsync(new DeltaDiscoveryRequest { ResourceNamesSubscribe = { "default" } });
        Assert.Equal(new GrpcStatus(GrpcStatusCode.InvalidArgument, "missing node information"), await envoy.EndAsync());
    }

    private static DeltaDiscoveryRequest Ask(string[] subscribe) => new() { Node = new Node { Id = "vm" }, TypeUrl = SecretMessages.TypeUrl, ResourceNamesSubscribe = { subscribe } };
}
