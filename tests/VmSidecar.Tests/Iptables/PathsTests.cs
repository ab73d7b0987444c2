using System.Net;
using VmSidecar.Configuration;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit.Namespaces;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>The paths beyond the default ones, with real packets on every back end: TPROXY, IPv6, interfaces, containers, lists, groups, zones.</summary>
public sealed class PathsTests
{
    private const string Vm = "10.99.0.1", Peer = "10.99.0.2";
    private const uint App = CaptureLab.App, Proxy = CaptureLab.Proxy;

    public static TheoryData<string> Backends => ["iptables-nft", "iptables-legacy", "nftables"];

    [Theory]
    [MemberData(nameof(Backends))]
    public async Task Tproxy_keeps_addresses_and_local_calls_direct(string backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        lab.ListenTcp(lab.Vm, "0.0.0.0", 15001, "outbound", 0, Proxy);
        lab.ListenTcp(lab.Vm, "0.0.0.0", 15006, "inbound", 0, Proxy, transparent: true);
        lab.ListenTcp(lab.Vm, "0.0.0.0", 8080, "app");
        lab.ListenTcp(lab.Vm, "0.0.0.0", 22, "ssh");
        CaptureOptions options = On(backend) with { Tproxy = true, RedirectDns = false, ProxyUids = [Proxy], ProxyGids = [Proxy] };
        string rulesBefore = await lab.Vm.RunAsync("ip rule");
        for (int i = 0; i < 3; i++) { await lab.Runner().ApplyAsync(options, CancellationToken.None); }
        Assert.Equal(1, (await lab.Vm.RunAsync("ip rule")).Split("lookup 133").Length - 1);

        Starts($"inbound {Vm}:8080 {Peer} ", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, Vm, 8080));
        Starts($"ssh {Vm}:22 {Peer}", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, Vm, 22));
        Starts($"app {Vm}:8080 {Vm}", await CaptureLab.AskTcpAsync(lab.Vm, App, App, Vm, 8080));
        Starts($"app {Vm}:8080 127.0.0.6", await CaptureLab.AskTcpAsync(lab.Vm, 0, Proxy, Vm, 8080, source: "127.0.0.6"));
        Starts($"inbound {Vm}:8080 {Vm}", await CaptureLab.AskTcpAsync(lab.Vm, 0, Proxy, Vm, 8080));
        Starts("outbound 127.0.0.1:15001 ", await CaptureLab.AskTcpAsync(lab.Vm, App, App, Peer, 80));
        Starts($"app {Vm}:8080 {Peer}", await CaptureLab.AskTcpAsync(lab.Vm, 0, Proxy, Vm, 8080, source: Peer, mark: 1337));

        await lab.Runner().CleanAsync(CancellationToken.None);
        Assert.Equal(rulesBefore, await lab.Vm.RunAsync("ip rule"));
        Assert.Equal("", (await lab.Vm.RunAsync("ip route show table all")).Split('\n').FirstOrDefault(l => l.Contains("133", StringComparison.Ordinal)) ?? "");
        Starts($"app {Vm}:8080 {Peer}", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, Vm, 8080));
    }

    [Theory]
    [MemberData(nameof(Backends))]
    public async Task Dual_stack_mirrors_the_paths_and_single_stack_leaves_ipv6_alone(string backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        lab.ListenTcp(lab.Vm, "::", 15001, "outbound", Proxy, Proxy);
        lab.ListenTcp(lab.Vm, "::", 15006, "inbound", Proxy, Proxy);
        lab.ListenUdp(lab.Vm, "::1", 15053, "agent", Proxy, Proxy);
        lab.ListenTcp(lab.Vm, "::", 8080, "app");
        lab.ListenTcp(lab.Vm, "::", 22, "ssh");
        lab.ListenTcp(lab.Peer, "::", 80, "web");
        CaptureOptions options = On(backend) with { DnsServers = [IPAddress.Parse("127.0.0.53"), IPAddress.Parse("fd99::2")] };
        await lab.Runner().ApplyAsync(options, CancellationToken.None);
        Starts("web [fd99::2]:80 fd99::1", await CaptureLab.AskTcpAsync(lab.Vm, App, App, "fd99::2", 80));
        Starts("app [fd99::1]:8080", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, "fd99::1", 8080));

        await lab.Runner().ApplyAsync(options with { IPv6 = true }, CancellationToken.None);
        Assert.Equal("outbound [::1]:15001 fd99::1 [fd99::2]:80", await CaptureLab.AskTcpAsync(lab.Vm, App, App, "fd99::2", 80));
        Starts("app [::1]:8080", await CaptureLab.AskTcpAsync(lab.Vm, App, App, "::1", 8080));
        Assert.Equal("inbound [::1]:15006 fd99::1 [fd99::1]:8080", await CaptureLab.AskTcpAsync(lab.Vm, Proxy, Proxy, "fd99::1", 8080));
        Starts("app [fd99::1]:8080 ::6", await CaptureLab.AskTcpAsync(lab.Vm, Proxy, Proxy, "fd99::1", 8080, source: "::6"));
        Assert.EndsWith("[fd99::1]:8080", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, "fd99::1", 8080), StringComparison.Ordinal);
        Starts("inbound ", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, "fd99::1", 8080));
        Starts("ssh [fd99::1]:22", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, "fd99::1", 22));
        Assert.Equal("agent from [fd99::2]:53", await CaptureLab.AskUdpAsync(lab.Vm, App, App, "fd99::2", 53));
        await lab.Runner().CleanAsync(CancellationToken.None);
        Starts("web [fd99::2]:80 fd99::1", await CaptureLab.AskTcpAsync(lab.Vm, App, App, "fd99::2", 80));
    }

    [Theory]
    [MemberData(nameof(Backends))]
    public async Task Containers_are_left_alone_by_default_and_captured_when_asked(string backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        NetworkNamespace container = await lab.AddContainerAsync(backend == "nftables" ? "iptables-nft" : backend);
        string variant = backend == "nftables" ? "iptables-nft" : backend;
        await lab.Vm.RunAsync($"{variant} -t nat -A PREROUTING -p tcp -m tcp --dport 8081 -m addrtype --dst-type LOCAL -j DNAT --to-destination 172.30.0.2:80");
        lab.ListenTcp(lab.Vm, "0.0.0.0", 15001, "outbound", Proxy, Proxy);
        lab.ListenTcp(lab.Vm, "0.0.0.0", 15006, "inbound", Proxy, Proxy);
        lab.ListenTcp(lab.Vm, "0.0.0.0", 8080, "app");
        lab.ListenTcp(lab.Peer, "0.0.0.0", 80, "web");
        lab.ListenTcp(container, "0.0.0.0", 80, "container");

        await lab.Runner().ApplyAsync(On(backend), CancellationToken.None);
        Starts($"web {Peer}:80 {Vm}", await CaptureLab.AskTcpAsync(container, 0, 0, Peer, 80)); // forwarded: not for this host
        Starts("inbound 172.30.0.1:15006 172.30.0.2", await CaptureLab.AskTcpAsync(container, 0, 0, "172.30.0.1", 8080)); // for this host, interface not known as a bridge
        Starts("container 172.30.0.2:80 ", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, Vm, 8081)); // published port: the engine's rule stands first

        await lab.Runner().ApplyAsync(On(backend) with { ContainerBridges = ["d0"] }, CancellationToken.None);
        Starts("app 172.30.0.1:8080 172.30.0.2", await CaptureLab.AskTcpAsync(container, 0, 0, "172.30.0.1", 8080));
        Starts("container 172.30.0.2:80", await CaptureLab.AskTcpAsync(lab.Vm, App, App, "172.30.0.2", 80));

        await lab.Runner().ApplyAsync(On(backend) with { KubeVirtInterfaces = ["d0"] }, CancellationToken.None);
        Assert.Equal($"outbound 172.30.0.1:15001 172.30.0.2 {Peer}:80", await CaptureLab.AskTcpAsync(container, 0, 0, Peer, 80));

        await lab.Runner().ApplyAsync(On(backend) with { Safety = false }, CancellationToken.None);
        Starts("inbound 172.30.0.1:15006 172.30.0.2", await CaptureLab.AskTcpAsync(container, 0, 0, Peer, 80)); // pilot-agent's rules
        await lab.Runner().ApplyAsync(On(backend) with { Safety = false, ExcludedInterfaces = ["d0"] }, CancellationToken.None);
        Starts($"web {Peer}:80 {Vm}", await CaptureLab.AskTcpAsync(container, 0, 0, Peer, 80));
    }

    [Theory]
    [MemberData(nameof(Backends))]
    public async Task Lists_of_ports_ranges_and_groups_select(string backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        lab.ListenTcp(lab.Vm, "0.0.0.0", 15001, "outbound", Proxy, Proxy);
        lab.ListenTcp(lab.Vm, "0.0.0.0", 15006, "inbound", Proxy, Proxy);
        lab.ListenTcp(lab.Vm, "0.0.0.0", 8080, "app");
        lab.ListenTcp(lab.Vm, "0.0.0.0", 22, "ssh");
        foreach (string address in new[] { "10.5.1.1", "10.6.1.1", "8.8.8.8", "169.254.169.254" }) { await lab.Peer.RunAsync($"ip addr add {address}/32 dev lo"); }
        foreach (int port in new[] { 80, 9000, 3306 }) { lab.ListenTcp(lab.Peer, "0.0.0.0", port, "web"); }
        CaptureOptions options = PilotCase.Options(
            ["-b", "80,443", "-d", "99", "-i", "10.0.0.0/8,192.168.0.0/16", "-x", "10.5.0.0/16", "-q", "9000", "-o", "3306,5432", "-u", "113", "-g", "113"], PilotCase.Host) with { Backend = Kind(backend) };
        await lab.Runner().ApplyAsync(options, CancellationToken.None);
        foreach ((string address, int port, string expected) in new[]
        {
            ("10.5.1.1", 80, "web"), ("10.6.1.1", 80, "outbound"), ("8.8.8.8", 80, "web"), ("8.8.8.8", 9000, "outbound"), ("10.5.1.1", 9000, "web"), ("10.6.1.1", 3306, "web"),
        })
        {
            Starts(expected + " ", await CaptureLab.AskTcpAsync(lab.Vm, App, App, address, port));
        }
        Starts("inbound ", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, Vm, 80));
        Starts("app ", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, Vm, 8080));
        Starts("ssh ", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, Vm, 22));

        await lab.Runner().ApplyAsync(On(backend) with { OwnerGroups = [202, 203] }, CancellationToken.None);
        Starts("outbound ", await CaptureLab.AskTcpAsync(lab.Vm, App, 203, Peer, 80));
        Starts("web ", await CaptureLab.AskTcpAsync(lab.Vm, App, App, Peer, 80));
        await lab.Runner().ApplyAsync(On(backend) with { ExcludedOwnerGroups = [202] }, CancellationToken.None);
        Starts("web ", await CaptureLab.AskTcpAsync(lab.Vm, App, 202, Peer, 80));
        Starts("outbound ", await CaptureLab.AskTcpAsync(lab.Vm, App, App, Peer, 80));
        Starts("web ", await CaptureLab.AskTcpAsync(lab.Vm, App, App, "169.254.169.254", 80)); // never captured
        Starts("web ", await CaptureLab.AskTcpAsync(lab.Vm, App, Proxy, Peer, 80)); // any user of the proxy's group
    }

    [Theory]
    [MemberData(nameof(Backends))]
    public async Task A_source_port_used_by_application_and_agent_goes_each_its_way(string backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        lab.ListenUdp(lab.Vm, "127.0.0.1", 15053, "agent", Proxy, Proxy);
        lab.ListenUdp(lab.Peer, "10.99.0.53", 53, "resolver");
        await lab.Runner().ApplyAsync(On(backend) with { DnsServers = [IPAddress.Parse("10.99.0.53")] }, CancellationToken.None);
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal("agent from 10.99.0.53:53", await CaptureLab.AskUdpAsync(lab.Vm, App, App, "10.99.0.53", 53, sourcePort: 40000));
            Assert.Equal("resolver from 10.99.0.53:53", await CaptureLab.AskUdpAsync(lab.Vm, Proxy, Proxy, "10.99.0.53", 53, sourcePort: 40000));
        }
        if (CommandRunner.Find("conntrack") is null) { return; }
        string flows = await lab.Vm.RunAsync("conntrack -L -p udp --orig-port-dst 53");
        Assert.Contains("zone=2", flows, StringComparison.Ordinal);
        Assert.Contains("zone=1", flows, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Backends))]
    public async Task With_nobody_behind_the_rules_ssh_and_the_agents_names_still_work(string backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        lab.ListenTcp(lab.Vm, "0.0.0.0", 22, "ssh");
        lab.ListenUdp(lab.Vm, "127.0.0.53", 53, "resolver");
        await lab.Runner().ApplyAsync(On(backend) with { InboundExcludedPorts = [] }, CancellationToken.None);
        Starts($"ssh {Vm}:22", await CaptureLab.AskTcpAsync(lab.Peer, 0, 0, Vm, 22));
        Assert.Equal("resolver from 127.0.0.53:53", await CaptureLab.AskUdpAsync(lab.Vm, Proxy, Proxy, "127.0.0.53", 53));
        Assert.Equal("refused", await CaptureLab.AskTcpAsync(lab.Vm, App, App, Peer, 80)); // closed: nothing leaves past the mesh
    }

    private static CaptureOptions On(string backend) => CaptureLab.Options with { Backend = Kind(backend) };

    private static CaptureBackendKind Kind(string backend) => backend switch
    {
        "nftables" => CaptureBackendKind.Nftables,
        "iptables-legacy" => CaptureBackendKind.IptablesLegacy,
        _ => CaptureBackendKind.IptablesNft,
    };

    private static void Starts(string expected, string actual) => Assert.StartsWith(expected, actual, StringComparison.Ordinal);
}
