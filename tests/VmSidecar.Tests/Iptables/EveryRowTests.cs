using System.Net;
using VmSidecar.Configuration;
using VmSidecar.TestKit;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>The rows of reference 05 sections 6 and 6.1 that no other test sends: who calls whom, and where the connection or the datagram arrives.</summary>
public sealed class EveryRowTests
{
    private const string Vm = "10.99.0.1", Peer = "10.99.0.2", Vip = "10.96.0.7";
    private const uint App = CaptureLab.App, Proxy = CaptureLab.Proxy, OtherGroup = 118;

    public static TheoryData<string> Backends => ["iptables-nft", "iptables-legacy", "nftables"];

    [Theory]
    [MemberData(nameof(Backends))]
    public async Task Tcp(string backend)
    {
        await using CaptureLab lab = await LabAsync();
        await lab.Runner().ApplyAsync(Options(backend), CancellationToken.None);
        foreach ((string row, bool fromPeer, uint uid, uint gid, string address, int port, string expected) in new (string, bool, uint, uint, string, int, string)[]
        {
            ("4 another loopback address", false, App, App, "127.0.0.2", 8080, "app 127.0.0.2:8080 "),
            ("5a own service by its virtual address", false, App, App, Vip, 80, $"outbound 127.0.0.1:15001 {Vm} {Vip}:80"),
            ("10 Envoy to another loopback address", false, Proxy, Proxy, "127.0.0.2", 8080, "inbound 127.0.0.1:15006 127.0.0.1 127.0.0.2:8080"),
            ("11 Envoy to the tunnel of this host", false, Proxy, Proxy, Vm, 15008, $"tunnel {Vm}:15008 {Vm}"),
            ("13 health", true, 0, 0, Vm, 15021, $"health {Vm}:15021 {Peer}"),
            ("13 metrics", true, 0, 0, Vm, 15090, $"metrics {Vm}:15090 {Peer}"),
            ("13 tunnel", true, 0, 0, Vm, 15008, $"tunnel {Vm}:15008 {Peer}"),
            ("15 Envoy's outbound port from outside", true, 0, 0, Vm, 15001, $"inbound {Vm}:15006 {Peer} {Vm}:15001"),
            ("15 Envoy's inbound port from outside", true, 0, 0, Vm, 15006, $"inbound {Vm}:15006 {Peer} {Vm}:15006"),
            ("22 names over TCP of a server not in resolv.conf: direct here", false, App, App, "10.99.0.53", 53, $"remote 10.99.0.53:53 {Vm}"),
            ("22 names over TCP of an address of this host: direct here", false, App, App, Vm, 53, $"dns {Vm}:53 {Vm}"),
            ("22 names over TCP of a virtual address", false, App, App, "240.240.0.9", 53, $"outbound 127.0.0.1:15001 {Vm} 240.240.0.9:53"),
            ("23 another user of the proxy's group", false, App, Proxy, Peer, 80, $"web {Peer}:80 {Vm}"),
            ("24 its names over TCP", false, App, Proxy, "127.0.0.53", 53, "resolver 127.0.0.53:53 "),
            ("25 the proxy with another group: self", false, Proxy, OtherGroup, Vm, 8080, $"inbound 127.0.0.1:15006 {Vm} {Vm}:8080"),
            ("25 the proxy with another group: out", false, Proxy, OtherGroup, Peer, 80, $"web {Peer}:80 {Vm}"),
            ("27 IPv6 where IPv6 is off", false, App, App, "fd99::2", 80, "web [fd99::2]:80 fd99::1"),
        })
        {
            string arrived = await CaptureLab.AskTcpAsync(fromPeer ? lab.Peer : lab.Vm, uid, gid, address, port);
            Assert.True(arrived.StartsWith(expected, StringComparison.Ordinal), $"{backend}, row {row}: {arrived}, not {expected}");
        }
    }

    [Theory]
    [MemberData(nameof(Backends))]
    public async Task Udp_and_errors_of_it(string backend)
    {
        await using CaptureLab lab = await LabAsync();
        lab.ListenUdp(lab.Vm, "0.0.0.0", 9999, "app");
        lab.ListenUdp(lab.Peer, "0.0.0.0", 9999, "web");
        await lab.Runner().ApplyAsync(Options(backend), CancellationToken.None);
        Assert.Equal($"web from {Peer}:9999", await CaptureLab.AskUdpAsync(lab.Vm, App, App, Peer, 9999)); // 16
        Assert.Equal($"app from {Vm}:9999", await CaptureLab.AskUdpAsync(lab.Peer, 0, 0, Vm, 9999));
        Assert.Equal("refused", await ConnectedUdpAsync(lab, Peer, 9)); // ICMP comes back
        Assert.Equal("resolver from 127.0.0.53:53", await CaptureLab.AskUdpAsync(lab.Vm, App, Proxy, "127.0.0.53", 53)); // 23
        Assert.Equal("remote from 10.99.0.53:53", await CaptureLab.AskUdpAsync(lab.Vm, App, App, "10.99.0.53", 53)); // 21

        await lab.Runner().ApplyAsync(Options(backend) with { CaptureAllDns = true }, CancellationToken.None);
        Assert.Equal("agent from 10.99.0.53:53", await CaptureLab.AskUdpAsync(lab.Vm, App, App, "10.99.0.53", 53));
        Assert.StartsWith("agent 127.0.0.1:15053 ", await CaptureLab.AskTcpAsync(lab.Vm, App, App, "10.99.0.54", 53), StringComparison.Ordinal);
        Assert.Equal("remote from 10.99.0.53:53", await CaptureLab.AskUdpAsync(lab.Vm, Proxy, Proxy, "10.99.0.53", 53));
    }

    /// <summary>Section 6.1 for both families, what is never captured included.</summary>
    [Theory]
    [MemberData(nameof(Backends))]
    public async Task Tproxy_of_both_families(string backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        foreach ((int port, string label) in new[] { (22, "ssh"), (15020, "status"), (8080, "app") }) { lab.ListenTcp(lab.Vm, "::", port, label); }
        lab.ListenTcp(lab.Vm, "::", 15001, "outbound", 0, Proxy);
        lab.ListenTcp(lab.Vm, "::", 15006, "inbound", 0, Proxy, transparent: true);
        lab.ListenTcp(lab.Vm, "::1", 15053, "agent", Proxy, Proxy);
        CaptureOptions options = Options(backend) with { Tproxy = true, IPv6 = true, DropInvalid = true, DnsServers = [IPAddress.Parse("127.0.0.53"), IPAddress.Parse("fd99::2")] };
        for (int i = 0; i < 2; i++) { await lab.Runner().ApplyAsync(options, CancellationToken.None); }
        foreach ((bool fromPeer, uint uid, uint gid, string address, int port, string? source, string expected) in new (bool, uint, uint, string, int, string?, string)[]
        {
            (true, 0, 0, "fd99::1", 8080, null, "inbound [fd99::1]:8080 fd99::2"),
            (true, 0, 0, "fd99::1", 4444, null, "inbound [fd99::1]:4444 fd99::2"),
            (true, 0, 0, "fd99::1", 22, null, "ssh [fd99::1]:22 fd99::2"),
            (true, 0, 0, "fd99::1", 15020, null, "status [fd99::1]:15020 fd99::2"),
            (false, App, App, "fd99::1", 8080, null, "app [fd99::1]:8080 fd99::1"),
            (false, 0, Proxy, "fd99::1", 8080, "::6", "app [fd99::1]:8080 ::6"),
            (false, 0, Proxy, "fd99::1", 8080, null, "inbound [fd99::1]:8080 fd99::1"),
            (false, App, App, "fd99::2", 80, null, "outbound [::1]:15001 fd99::1 [fd99::2]:80"),
            (false, App, App, "fd99::2", 53, null, "agent [::1]:15053 fd99::1 [fd99::2]:53"),
        })
        {
            string arrived = await CaptureLab.AskTcpAsync(fromPeer ? lab.Peer : lab.Vm, uid, gid, address, port, source);
            Assert.True(arrived.StartsWith(expected, StringComparison.Ordinal), $"{backend}: [{address}]:{port} by {uid}/{gid}: {arrived}, not {expected}");
        }
        Assert.Contains("fwmark 0x539 lookup 133", await lab.Vm.RunAsync("ip -6 rule"), StringComparison.Ordinal);
    }

    /// <summary>1.10 on IPv6 (reference 05 section 4.1): redirection also where TPROXY is asked for, and no names.</summary>
    [Theory]
    [MemberData(nameof(Backends))]
    public async Task Ipv6_with_the_rules_of_1_10_knows_neither_names_nor_tproxy(string backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        lab.ListenTcp(lab.Vm, "::", 15001, "outbound", Proxy, Proxy);
        lab.ListenTcp(lab.Vm, "::", 15006, "inbound", Proxy, Proxy);
        lab.ListenUdp(lab.Peer, "fd99::2", 53, "remote");
        CaptureOptions options = Options(backend) with { Compat110 = true, IPv6 = true, Tproxy = true, DnsServers = [IPAddress.Parse("fd99::2")] };
        await lab.Runner().ApplyAsync(options, CancellationToken.None);
        Assert.Equal("inbound [fd99::1]:15006 fd99::2 [fd99::1]:8080", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, "fd99::1", 8080));
        Assert.Equal("outbound [::1]:15001 fd99::1 [fd99::2]:80", await CaptureLab.AskTcpAsync(lab.Vm, App, App, "fd99::2", 80));
        Assert.Equal("inbound [::1]:15006 fd99::1 [fd99::1]:8080", await CaptureLab.AskTcpAsync(lab.Vm, Proxy, Proxy, "fd99::1", 8080));
        Assert.Equal("remote from [fd99::2]:53", await CaptureLab.AskUdpAsync(lab.Vm, App, App, "fd99::2", 53));
        Assert.DoesNotContain("fwmark", await lab.Vm.RunAsync("ip -6 rule"), StringComparison.Ordinal);
        await lab.Runner().CleanAsync(CancellationToken.None);
    }

    /// <summary>What the zones are for (trap 12): with 1.10's rules a reused source port sends the agent's own query to itself.</summary>
    [Fact]
    public async Task Without_zones_a_reused_source_port_goes_the_wrong_way()
    {
        await using CaptureLab lab = await LabAsync();
        CaptureOptions options = Options("iptables-nft") with { Compat110 = true, Safety = false, DnsZones = false, DnsServers = [IPAddress.Parse("10.99.0.53")] };
        await lab.Runner().ApplyAsync(options, CancellationToken.None);
        Assert.Equal("agent from 10.99.0.53:53", await CaptureLab.AskUdpAsync(lab.Vm, App, App, "10.99.0.53", 53, sourcePort: 41000));
        Assert.Equal("agent from 10.99.0.53:53", await CaptureLab.AskUdpAsync(lab.Vm, Proxy, Proxy, "10.99.0.53", 53, sourcePort: 41000));
    }

    private static CaptureOptions Options(string backend) => CaptureLab.Options with { Backend = SafetyTests.Kind(backend) };

    private static async Task<CaptureLab> LabAsync()
    {
        CaptureLab lab = await CaptureLab.CreateAsync();
        foreach ((int port, string label) in new[] { (15001, "outbound"), (15006, "inbound"), (15008, "tunnel") }) { lab.ListenTcp(lab.Vm, "0.0.0.0", port, label, Proxy, Proxy); }
        foreach ((int port, string label) in new[] { (8080, "app"), (15021, "health"), (15090, "metrics"), (22, "ssh") }) { lab.ListenTcp(lab.Vm, "0.0.0.0", port, label); }
        lab.ListenTcp(lab.Vm, "127.0.0.1", 15053, "agent", Proxy, Proxy);
        lab.ListenUdp(lab.Vm, "127.0.0.1", 15053, "agent", Proxy, Proxy);
        lab.ListenTcp(lab.Vm, "127.0.0.53", 53, "resolver");
        lab.ListenUdp(lab.Vm, "127.0.0.53", 53, "resolver");
        lab.ListenTcp(lab.Peer, "::", 80, "web");
        lab.ListenTcp(lab.Peer, "0.0.0.0", 80, "web");
        lab.ListenTcp(lab.Vm, Vm, 53, "dns");
        lab.ListenUdp(lab.Peer, "10.99.0.53", 53, "remote");
        lab.ListenTcp(lab.Peer, "10.99.0.53", 53, "remote");
        return lab;
    }

    /// <summary>A socket bound to its peer hears of the port that is closed.</summary>
    private static async Task<string> ConnectedUdpAsync(CaptureLab lab, string address, int port)
    {
        using System.Net.Sockets.Socket socket = lab.Vm.As(App, App, () => new System.Net.Sockets.Socket(System.Net.Sockets.AddressFamily.InterNetwork, System.Net.Sockets.SocketType.Dgram, System.Net.Sockets.ProtocolType.Udp));
        await socket.ConnectAsync(new IPEndPoint(IPAddress.Parse(address), port));
        await socket.SendAsync(new byte[] { 1 });
        try
        {
            await socket.ReceiveAsync(new byte[1]).WaitAsync(Test.Deadline);
            return "answered";
        }
        catch (System.Net.Sockets.SocketException e) when (e.SocketErrorCode == System.Net.Sockets.SocketError.ConnectionRefused)
        {
            return "refused";
        }
    }
}
