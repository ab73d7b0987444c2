using Google.Protobuf;

using VmSidecar.Grpc;
using VmSidecar.Identity;
using VmSidecar.Proto.Discovery;
using VmSidecar.Proto.Tls;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Pki;

using Xunit;

namespace VmSidecar.Integration.Tests;

/// <summary>Trust anchors from istiod's mesh configuration (PCDS) on their whole way: stream, merge, SDS, disk.</summary>
public sealed class TrustTests
{
    [Theory]
    [InlineData(IstiodVersion.V1_10)]
    [InlineData(IstiodVersion.V1_31)]
    internal async Task Roots_that_istiod_adds_reach_Envoy_and_the_disk_and_leave_again(IstiodVersion version)
    {
        await using FakeIstiod istiod = await StartTests.StartAsync(new IstiodOptions { Version = version, MultiRoot = true });
        FakeCa ca = istiod.CertificateAuthority, other = new(TimeProvider.System);
        await using RunningAgent agent = RunningAgent.Start(RunningAgent.Onboard(istiod), istiod, options => options with { Xds = options.Xds with { SubscribeTrust = true } });
        await agent.Log.LineAsync("generated new workload certificate");
        await using var channel = new GrpcChannel(GrpcChannelOptions.For("unix:" + agent.Options.Sds.Sockets[0]));
        await using IGrpcClientCall sds = await channel.OpenAsync("/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets", [], CancellationToken.None);
        await sds.SendAsync(new DiscoveryRequest { Node = new Node { Id = "vm" }, ResourceNames = { "ROOTCA" } }.ToByteArray(), CancellationToken.None);
        string before = PemBundle.Merge(ca.RootsPem);
        Assert.Equal(before, await NextAsync(sds));
        ca.AddRoot(other.Root);
        istiod.Push("PCDS");
        Assert.Equal(PemBundle.Merge(ca.RootsPem), await NextAsync(sds));
        Assert.Equal(2, istiod.CertificateAuthority.Roots.Count);
        Assert.Equal(1, agent.Log.Count("generated new workload certificate")); // no new leaf for it
        ca.DropOldRoots();
        istiod.Push("PCDS");
        Assert.Equal(before, await NextAsync(sds));
        await agent.StopAsync();
        Assert.Equal(before, await File.ReadAllTextAsync(Path.Combine(agent.Options.Paths.Certificates, "root-cert.pem")));
        Assert.Empty(istiod.Violations);
    }

    private static async Task<string> NextAsync(IGrpcClientCall sds)
    {
        using GrpcMessage? message = await sds.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline);
        Assert.True(message is not null, message is null ? sds.Status.ToString() : "");
        DiscoveryResponse response = DiscoveryResponse.Parser.ParseFrom(message!.Body.Span);
        return Secret.Parser.ParseFrom(response.Resources.Single().Value).ValidationContext.TrustedCa.InlineBytes.ToStringUtf8();
    }
}
