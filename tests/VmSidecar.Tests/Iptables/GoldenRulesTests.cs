using VmSidecar.Configuration;
using VmSidecar.Iptables;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>The worked examples of reference 05 sections 4.2-4.5, rule by rule, with <c>--exact</c>.</summary>
public sealed class GoldenRulesTests
{
    private static readonly CaptureHost s_host = new() { ResolvConf = "nameserver 127.0.0.53\n", Addresses = [System.Net.IPAddress.Parse("10.99.0.1")] };
    private static readonly string[] s_proxy = ["-u", "113", "-g", "113"];

    [Fact]
    public void R1_the_vm_default_of_1_10() => Assert.Equal(
        """
        -A PREROUTING -p tcp -j ISTIO_INBOUND
        -A OUTPUT -p tcp -j ISTIO_OUTPUT
        -A OUTPUT -p udp -m udp --dport 53 -m owner --uid-owner 113 -j RETURN
        -A OUTPUT -p udp -m udp --dport 53 -m owner --gid-owner 113 -j RETURN
        -A OUTPUT -d 127.0.0.53/32 -p udp -m udp --dport 53 -j REDIRECT --to-ports 15053
        -A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN
        -A ISTIO_INBOUND -p tcp -m tcp --dport 22 -j RETURN
        -A ISTIO_INBOUND -p tcp -m tcp --dport 15090 -j RETURN
        -A ISTIO_INBOUND -p tcp -m tcp --dport 15021 -j RETURN
        -A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
        -A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
        -A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
        -A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 53 -m owner --uid-owner 113 -j ISTIO_IN_REDIRECT
        -A ISTIO_OUTPUT -o lo -p tcp -m tcp ! --dport 53 -m owner ! --uid-owner 113 -j RETURN
        -A ISTIO_OUTPUT -m owner --uid-owner 113 -j RETURN
        -A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -m owner --gid-owner 113 -j ISTIO_IN_REDIRECT
        -A ISTIO_OUTPUT -o lo -p tcp -m tcp ! --dport 53 -m owner ! --gid-owner 113 -j RETURN
        -A ISTIO_OUTPUT -m owner --gid-owner 113 -j RETURN
        -A ISTIO_OUTPUT -d 127.0.0.53/32 -p tcp -m tcp --dport 53 -j REDIRECT --to-ports 15053
        -A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
        -A ISTIO_OUTPUT -j ISTIO_REDIRECT
        -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
        """, Rules("nat", ["-b", "*", "-d", "15090,15021", "-i", "*", "--redirect-dns", "--rules-compat", "1.10", .. s_proxy]));

    [Fact]
    public void R4_every_kind_of_list() => Assert.Equal(
        """
        -A PREROUTING -d 192.168.0.0/16 -i eth2 -j ISTIO_REDIRECT
        -A PREROUTING -d 192.168.0.0/16 -i eth1 -j ISTIO_REDIRECT
        -A PREROUTING -d 10.0.0.0/8 -i eth2 -j ISTIO_REDIRECT
        -A PREROUTING -d 10.0.0.0/8 -i eth1 -j ISTIO_REDIRECT
        -A PREROUTING -i eth2 -j RETURN
        -A PREROUTING -i eth1 -j RETURN
        -A PREROUTING -p tcp -j ISTIO_INBOUND
        -A OUTPUT -p tcp -j ISTIO_OUTPUT
        -A ISTIO_INBOUND -p tcp -m tcp --dport 15008 -j RETURN
        -A ISTIO_INBOUND -p tcp -m tcp --dport 80 -j ISTIO_IN_REDIRECT
        -A ISTIO_INBOUND -p tcp -m tcp --dport 443 -j ISTIO_IN_REDIRECT
        -A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
        -A ISTIO_OUTPUT -p tcp -m tcp --dport 3306 -j RETURN
        -A ISTIO_OUTPUT -p tcp -m tcp --dport 5432 -j RETURN
        -A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN
        -A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -m owner --uid-owner 3 -j ISTIO_IN_REDIRECT
        -A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 3 -j RETURN
        -A ISTIO_OUTPUT -m owner --uid-owner 3 -j RETURN
        -A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -m owner --gid-owner 1 -j ISTIO_IN_REDIRECT
        -A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1 -j RETURN
        -A ISTIO_OUTPUT -m owner --gid-owner 1 -j RETURN
        -A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
        -A ISTIO_OUTPUT -d 10.5.0.0/16 -j RETURN
        -A ISTIO_OUTPUT -p tcp -m tcp --dport 9000 -j ISTIO_REDIRECT
        -A ISTIO_OUTPUT -d 10.0.0.0/8 -j ISTIO_REDIRECT
        -A ISTIO_OUTPUT -d 192.168.0.0/16 -j ISTIO_REDIRECT
        -A ISTIO_OUTPUT -j RETURN
        -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
        """, Rules("nat", [
            "-b", "80,443", "-d", "99", "-i", "10.0.0.0/8,192.168.0.0/16", "-x", "10.5.0.0/16", "-q", "9000", "-o", "3306,5432", "-u", "3", "-g", "1", "-k", "eth1,eth2", "--rules-compat", "1.10"]));

    [Fact]
    public void R5_a_loopback_range_in_the_inclusion_drops_the_local_returns()
    {
        string rules = Rules("nat", ["-i", "127.1.2.3/32", "--rules-compat", "1.10", .. s_proxy]);
        Assert.DoesNotContain("! --uid-owner", rules, StringComparison.Ordinal);
        Assert.Contains("-A ISTIO_OUTPUT -d 127.1.2.3/32 -j ISTIO_REDIRECT\n-A ISTIO_OUTPUT -j RETURN\n", rules, StringComparison.Ordinal);
    }

    [Fact]
    public void C1_raw_zones() => Assert.Equal(
        """
        -A PREROUTING -j ISTIO_INBOUND
        -A OUTPUT -j ISTIO_OUTPUT_DNS
        -A ISTIO_INBOUND -s 127.0.0.53/32 -p udp -m udp --sport 53 -j CT --zone 1
        -A ISTIO_OUTPUT_DNS -p udp -m udp --dport 53 -m owner --uid-owner 113 -j CT --zone 1
        -A ISTIO_OUTPUT_DNS -p udp -m udp --sport 15053 -m owner --uid-owner 113 -j CT --zone 2
        -A ISTIO_OUTPUT_DNS -p udp -m udp --dport 53 -m owner --gid-owner 113 -j CT --zone 1
        -A ISTIO_OUTPUT_DNS -p udp -m udp --sport 15053 -m owner --gid-owner 113 -j CT --zone 2
        -A ISTIO_OUTPUT_DNS -d 127.0.0.53/32 -p udp -m udp --dport 53 -j CT --zone 2
        """, Rules("raw", ["-b", "*", "-i", "*", "--redirect-dns", .. s_proxy]));

    [Fact]
    public void Owner_groups_stand_right_before_the_names()
    {
        Dictionary<string, string> only = new() { ["ISTIO_OUTBOUND_OWNER_GROUPS"] = "201,202" }, but = new() { ["ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"] = "888,21" };
        string[] arguments = ["-i", "*", "--redirect-dns", .. s_proxy];
        Assert.Contains("-A ISTIO_OUTPUT -m owner ! --gid-owner 201 -m owner ! --gid-owner 202 -j RETURN\n-A ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS\n", Rules("nat", arguments, only), StringComparison.Ordinal);
        Assert.Contains("-A ISTIO_OUTPUT -m owner --gid-owner 888 -j RETURN\n-A ISTIO_OUTPUT -m owner --gid-owner 21 -j RETURN\n-A ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS\n", Rules("nat", arguments, but), StringComparison.Ordinal);
    }

    [Fact]
    public void Dual_stack_with_IPv4_servers_only_has_no_names_in_v6_nat_but_the_owner_zones_in_v6_raw()
    {
        CaptureHost host = s_host with { Addresses = [System.Net.IPAddress.Parse("10.0.0.1"), System.Net.IPAddress.Parse("2001:db8::1")] };
        IptablesProgram program = IptablesProgram.For(PilotCase.Options(["-b", "*", "-i", "*", "--redirect-dns", "--dual-stack", "--exact", .. s_proxy], host), IpFamily.V6);
        Assert.DoesNotContain(program.Rules, r => r is { Table: "nat", Chain: "ISTIO_OUTPUT_DNS" });
        Assert.Equal(4, program.Rules.Count(r => r is { Table: "raw", Chain: "ISTIO_OUTPUT_DNS" }));
        Assert.Contains(program.Rules, r => r.Match.Source?.Cidr == "::6/128");
    }

    private static string Rules(string table, string[] arguments, IReadOnlyDictionary<string, string>? environment = null)
    {
        IptablesProgram program = IptablesProgram.For(PilotCase.Options([.. arguments, "--exact"], s_host, environment), IpFamily.V4);
        InstalledTable found = PilotCase.Load(program).Single(t => t.Name == table);
        string[] order = ["PREROUTING", "OUTPUT", .. found.Chains.Order(StringComparer.Ordinal)];
        return string.Join('\n', order.SelectMany(c => found.Rules.Where(r => r.Chain == c).Select(r => $"-A {c} {r.Spec}")));
    }
}
