using VmSidecar.Package.Tests.Machines;

using Xunit;

namespace VmSidecar.Package.Tests;

/// <summary>Beside a real systemd-resolved whose stub is in resolv.conf, as on most VMs of today: before, with and after the agent (reference 04 §6, traps 15, 17 and 25).</summary>
public sealed class ResolvedTests(PackageMesh mesh)
{
    private const string Outside = "outside.example.org", Mesh = "nginx.example.com";

    private int _asked; // every question has a name of its own: no answer comes out of a cache

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Names_resolve_through_resolved_before_with_and_after_the_agent_and_nothing_loops()
    {
        await using Machine vm = await mesh.BootAsync(Stop);
        await vm.RunAsync($"""
            mkdir -p /etc/systemd/resolved.conf.d
            printf '[Resolve]\nDNS={MeshNetwork.MeshAddress}\nFallbackDNS=\nDNSSEC=no\nLLMNR=no\nMulticastDNS=no\n' >/etc/systemd/resolved.conf.d/mesh.conf
            ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
            systemctl unmask systemd-resolved; systemctl start systemd-resolved
            """, Stop);
        await ThroughResolvedAsync(vm);
        await ThroughPort53Async(vm);
        Assert.Equal(2, (await vm.TryAsync("getent hosts " + Mesh, Stop)).Exit); // nobody knows it yet

        await Onboarding.InstallAsync(vm, Stop);
        await vm.RunAsync("systemctl start istio", Stop);
        await mesh.RegisteredAsync(vm, Stop);
        await ThroughResolvedAsync(vm);
        const string behind = $"OUTPUT -p udp -d {MeshNetwork.MeshAddress} --dport 53 -m owner --uid-owner istio-proxy"; // counts the agent's questions to the server behind the stub
        await vm.RunAsync("iptables -I " + behind, Stop);
        await ThroughPort53Async(vm);
        Assert.StartsWith("[0:0] ", await vm.RunAsync("iptables-save -c -t filter | grep -- --uid-owner", Stop), StringComparison.Ordinal); // the stub was asked, and nobody behind it
        await vm.RunAsync("iptables -D " + behind, Stop);
        Assert.Contains("-d 127.0.0.53/32", await vm.RunAsync("iptables-save -t nat | grep 15053", Stop), StringComparison.Ordinal);
        await vm.UntilAsync("the mesh's names through the stub's address", "getent hosts " + Mesh, r => r.Output.StartsWith("240.24", StringComparison.Ordinal), Stop);
        Assert.NotEqual(0, (await vm.TryAsync("resolvectl flush-caches; resolvectl query " + Mesh, Stop)).Exit); // over D-Bus, past port 53: as README says of nss-resolve
        string explained = await vm.RunAsync("vmsidecar dns " + Outside, Stop);
        Assert.Matches(@"(?m)^  upstream  127\.0\.0\.53:53: NOERROR in [0-9.]+ ms$", explained);
        Assert.Matches($@"(?m)^  upstream  {MeshNetwork.MeshAddress}:53: NOERROR in [0-9.]+ ms \(asked only when the others are gone or silent\)$", explained);

        await vm.RunAsync("systemctl stop systemd-resolved", Stop); // then the servers it used itself, which it leaves in a file
        Assert.Contains("nameserver " + MeshNetwork.MeshAddress, await vm.RunAsync("cat /run/systemd/resolve/resolv.conf", Stop), StringComparison.Ordinal);
        await ThroughPort53Async(vm);
        await vm.RunAsync("systemctl start systemd-resolved", Stop);
        await ThroughResolvedAsync(vm);
        Assert.DoesNotContain("DNS loop", await vm.RunAsync("cat /var/log/istio/istio.log", Stop), StringComparison.Ordinal);
        Assert.Contains("istio_agent_dns_loops_total 0", await vm.RunAsync("curl -s localhost:15020/stats/prometheus", Stop), StringComparison.Ordinal);

        await vm.RunAsync("systemctl stop istio", Stop);
        await ThroughResolvedAsync(vm);
        await ThroughPort53Async(vm);
        Assert.Equal(2, (await vm.TryAsync("getent hosts " + Mesh, Stop)).Exit);
    }

    /// <summary>As a program that asks resolved itself; its own question to the server is no question of the VM's to capture.</summary>
    private async Task ThroughResolvedAsync(Machine vm) =>
        await vm.UntilAsync("an answer of resolved", "resolvectl query " + Fresh(), r => r.Output.Contains("192.0.2.10", StringComparison.Ordinal), Stop);

    /// <summary>As glibc and everybody else: UDP and TCP to 127.0.0.53.</summary>
    private async Task ThroughPort53Async(Machine vm)
    {
        await vm.UntilAsync("an answer by UDP", "getent hosts " + Fresh(), r => r.Output.StartsWith("192.0.2.10", StringComparison.Ordinal), Stop);
        await vm.UntilAsync("an answer by TCP", "dig +tcp +short @127.0.0.53 " + Fresh(), r => r.Output == "192.0.2.10\n", Stop);
    }

    private string Fresh() => $"q{++_asked}.{Outside}";
}
