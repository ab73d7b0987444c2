using VmSidecar.Configuration;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>Reference 05 section 6 with real packets: the default VM rules with DNS capture, put on and taken off.</summary>
public sealed class RealPacketsTests
{
    private const string Vm = "10.99.0.1", Peer = "10.99.0.2";

    [Theory]
    [InlineData(CaptureBackendKind.IptablesNft)]
    [InlineData(CaptureBackendKind.IptablesLegacy)]
    [InlineData(CaptureBackendKind.Nftables)]
    public async Task Default_rules_send_each_packet_where_the_reference_says(object backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        Listen(lab);
        string before = await lab.SaveAsync();
        CaptureOptions options = CaptureLab.Options with { Backend = (CaptureBackendKind)backend };
        Assert.True(await lab.Runner().ApplyAsync(options, CancellationToken.None));

        const uint app = CaptureLab.App, proxy = CaptureLab.Proxy;
        Assert.Equal($"outbound 127.0.0.1:15001 {Vm} {Peer}:80", await CaptureLab.AskTcpAsync(lab.Vm, app, app, Peer, 80));
        Assert.Equal($"outbound 127.0.0.1:15001 {Vm} {Peer}:80", await CaptureLab.AskTcpAsync(lab.Vm, 0, 0, Peer, 80));
        Assert.StartsWith("app 127.0.0.1:8080 ", await CaptureLab.AskTcpAsync(lab.Vm, app, app, "127.0.0.1", 8080), StringComparison.Ordinal);
        Assert.StartsWith($"app {Vm}:8080 ", await CaptureLab.AskTcpAsync(lab.Vm, app, app, Vm, 8080), StringComparison.Ordinal);
        Assert.Equal($"inbound 127.0.0.1:15006 {Vm} {Vm}:8080", await CaptureLab.AskTcpAsync(lab.Vm, proxy, proxy, Vm, 8080));
        Assert.StartsWith($"app {Vm}:8080 127.0.0.6", await CaptureLab.AskTcpAsync(lab.Vm, proxy, proxy, Vm, 8080, source: "127.0.0.6"), StringComparison.Ordinal);
        Assert.StartsWith($"web {Peer}:80 {Vm}", await CaptureLab.AskTcpAsync(lab.Vm, proxy, proxy, Peer, 80), StringComparison.Ordinal);
        Assert.StartsWith("app 127.0.0.1:8080 ", await CaptureLab.AskTcpAsync(lab.Vm, proxy, proxy, "127.0.0.1", 8080), StringComparison.Ordinal);
        Assert.Equal($"inbound {Vm}:15006 {Peer} {Vm}:8080", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, Vm, 8080));
        Assert.Equal($"inbound {Vm}:15006 {Peer} {Vm}:4444", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, Vm, 4444));
        Assert.StartsWith($"ssh {Vm}:22 {Peer}", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, Vm, 22), StringComparison.Ordinal);
        Assert.StartsWith($"status {Vm}:15020 {Peer}", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, Vm, 15020), StringComparison.Ordinal);
        Assert.Equal("agent from 127.0.0.53:53", await CaptureLab.AskUdpAsync(lab.Vm, app, app, "127.0.0.53", 53));
        Assert.StartsWith("agent 127.0.0.1:15053 ", await CaptureLab.AskTcpAsync(lab.Vm, app, app, "127.0.0.53", 53), StringComparison.Ordinal);
        Assert.Equal("resolver from 127.0.0.53:53", await CaptureLab.AskUdpAsync(lab.Vm, proxy, proxy, "127.0.0.53", 53));
        Assert.StartsWith("resolver 127.0.0.53:53 ", await CaptureLab.AskTcpAsync(lab.Vm, proxy, proxy, "127.0.0.53", 53), StringComparison.Ordinal);
        Assert.Equal("remote from 10.99.0.53:53", await CaptureLab.AskUdpAsync(lab.Vm, app, app, "10.99.0.53", 53));

        Assert.False(await lab.Runner().ApplyAsync(options, CancellationToken.None));
        Assert.True(await lab.Runner().CleanAsync(CancellationToken.None));
        Assert.Equal(before, await lab.SaveAsync());
        Assert.DoesNotContain("ISTIO", await lab.SaveAsync("iptables-legacy"), StringComparison.Ordinal);
        Assert.DoesNotContain("vmsidecar", await lab.Vm.RunAsync("nft list ruleset"), StringComparison.Ordinal);
        Assert.False(await lab.Runner().CleanAsync(CancellationToken.None));
        Assert.StartsWith($"web {Peer}:80 {Vm}", await CaptureLab.AskTcpAsync(lab.Vm, app, app, Peer, 80), StringComparison.Ordinal);
    }

    private static void Listen(CaptureLab lab)
    {
        const uint proxy = CaptureLab.Proxy, group = CaptureLab.ProxyGroup;
        lab.ListenTcp(lab.Vm, "0.0.0.0", 15001, "outbound", proxy, group);
        lab.ListenTcp(lab.Vm, "0.0.0.0", 15006, "inbound", proxy, group);
        lab.ListenTcp(lab.Vm, "127.0.0.1", 15053, "agent", proxy, group);
        lab.ListenUdp(lab.Vm, "127.0.0.1", 15053, "agent", proxy, group);
        lab.ListenTcp(lab.Vm, "0.0.0.0", 8080, "app");
        lab.ListenTcp(lab.Vm, "0.0.0.0", 22, "ssh");
        lab.ListenTcp(lab.Vm, "0.0.0.0", 15020, "status");
        lab.ListenTcp(lab.Vm, "127.0.0.53", 53, "resolver");
        lab.ListenUdp(lab.Vm, "127.0.0.53", 53, "resolver");
        lab.ListenTcp(lab.Peer, "0.0.0.0", 80, "web");
        lab.ListenUdp(lab.Peer, "10.99.0.53", 53, "remote");
    }
}
