using System.Collections.Immutable;
using System.Net;
using VmSidecar.Configuration;
using VmSidecar.Iptables;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>Flags, variables, defaults and host facts: what counts, and what is refused before any command runs.</summary>
public sealed class CaptureOptionsReaderTests
{
    private static readonly CaptureHost s_host = new()
    {
        Passwd = "root:x:0:0::/root:/bin/sh\nistio-proxy:x:113:118::/var/lib/istio:/bin/false\napp:x:1000:1000::/:/bin/sh\n",
        Group = "root:x:0:\nistio-proxy:x:118:\njava:x:201:\n",
        ResolvConf = "# local\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\noptions edns0\n",
        Addresses = [IPAddress.Parse("10.0.0.12"), IPAddress.Parse("fe80::1"), IPAddress.Parse("2001:db8::1")],
        ContainerBridges = ["docker0"],
    };

    [Fact]
    public void Without_anything_chains_stand_and_nothing_is_captured()
    {
        CaptureOptions options = Read([], []);
        Assert.False(options.AllInboundPorts);
        Assert.Empty(options.InboundPorts);
        Assert.False(options.AllOutboundCidrs);
        Assert.False(options.RedirectDns);
        Assert.Equal((15001, 15006, 15008), (options.ProxyPort, options.InboundPort, options.TunnelPort));
    }

    [Fact]
    public void The_onboarding_files_give_the_default_rules()
    {
        CaptureOptions options = Read([], new() { ["ISTIO_INBOUND_PORTS"] = "*", ["ISTIO_SERVICE_CIDR"] = "*", ["ISTIO_LOCAL_EXCLUDE_PORTS"] = "15090,15021", ["ISTIO_META_DNS_CAPTURE"] = "true" });
        Assert.True(options is { AllInboundPorts: true, AllOutboundCidrs: true, RedirectDns: true, Safety: true, IPv6: false });
        Assert.Equal(["15090", "15021"], options.InboundExcludedPorts);
        Assert.Equal([IPAddress.Parse("127.0.0.53"), IPAddress.Parse("fe80::1")], options.DnsServers);
        Assert.Equal(["docker0"], options.ContainerBridges);
        Assert.Equal(["22"], options.NeverInboundPorts);
    }

    [Theory]
    [InlineData("10.0.0.0/8", true)]
    [InlineData("240.240.0.0/20", true)] // a part is not enough
    [InlineData("10.0.0.0/8,240.240.0.0/16", false)]
    [InlineData("240.0.0.0/4", false)]
    [InlineData("*", false)]
    public void Virtual_ips_that_are_not_captured_are_warned_of(string cidrs, bool warned)
    {
        List<ConfigError> errors = [];
        Read([], new() { ["ISTIO_SERVICE_CIDR"] = cidrs, ["ISTIO_META_DNS_CAPTURE"] = "true" }, errors);
        Assert.Equal(warned, errors.Exists(e => e.IsWarning && e.Key == "ISTIO_SERVICE_CIDR"));
    }

    [Theory]
    [InlineData("NONE", "NONE keeps no rule away")]
    [InlineData("tproxy", "'tproxy' is no interception mode and is taken for REDIRECT")]
    [InlineData("REDIRECT", null)]
    [InlineData("TPROXY", null)]
    [InlineData("", null)]
    public void A_mode_that_redirects_all_the_same_is_warned_of(string mode, string? said)
    {
        List<ConfigError> errors = [];
        CaptureOptions options = Read([], new() { ["ISTIO_INBOUND_INTERCEPTION_MODE"] = mode, ["ISTIO_INBOUND_PORTS"] = "*" }, errors);
        Assert.Equal((mode == "TPROXY", true), (options.Tproxy, options.AllInboundPorts));
        Assert.Equal(said is not null, errors.Exists(e => e.IsWarning && e.Key == "ISTIO_INBOUND_INTERCEPTION_MODE" && e.Problem.StartsWith(said ?? "-", StringComparison.Ordinal)));
        Assert.DoesNotContain(errors, e => !e.IsWarning);
    }

    /// <summary>The setting came with 1.11.</summary>
    [Fact]
    public void In_1_10_all_names_are_those_of_resolv_conf_and_names_over_tcp_go_where_names_over_udp_go()
    {
        List<ConfigError> errors = [];
        CaptureOptions options = Read(["--rules-compat", "1.10", "--redirect-dns", "-i", "*"], new() { ["CAPTURE_ALL_DNS"] = "true" }, errors);
        Assert.True(options is { RedirectDns: true, CaptureAllDns: false, Safety: true });
        Assert.Contains(IPAddress.Parse("127.0.0.53"), options.DnsServers);
        ConfigError warning = Assert.Single(errors);
        Assert.True(warning.IsWarning);
        Assert.Contains("not known to the rule set of 1.10", warning.Problem, StringComparison.Ordinal);
        foreach (bool all in new[] { false, true }) // whoever made the options
        {
            Assert.Contains(IptablesProgram.For(options with { CaptureAllDns = all }, IpFamily.V4).Rules, r => r.Why == "names of others are never captured");
        }
    }

    [Fact]
    public void The_proxy_has_its_users_ids_and_the_real_primary_group()
    {
        CaptureOptions options = Read([], []);
        Assert.Equal((113u, 118u), (options.ProxyUids.Single(), options.ProxyGids.Single()));
        Assert.Equal([118u], Read(["-u", "113"], []).ProxyGids);
        Assert.Equal([4242u], Read(["-u", "4242"], []).ProxyGids);
        CaptureOptions lists = Read(["-u", "3,4", "-g", "1,2"], []);
        Assert.Equal([3u, 4u], lists.ProxyUids);
        Assert.Equal([1u, 2u], lists.ProxyGids);
    }

    [Fact]
    public void Without_the_user_the_classic_id_is_used_and_said()
    {
        List<ConfigError> errors = [];
        CaptureOptions options = Read([], new() { ["ENVOY_USER"] = "nobody-here" }, errors);
        Assert.Equal((1337u, 1337u), (options.ProxyUids.Single(), options.ProxyGids.Single()));
        Assert.Contains(errors, e => e.IsWarning && e.Problem.Contains("nobody-here", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("true", "false", false, false)]
    [InlineData("false", "true", false, true)]
    [InlineData("false", "true", true, false)]
    [InlineData("true", "", false, true)]
    public void Of_two_variables_the_alias_wins_but_in_1_10_the_generic_name(string generic, string alias, bool compat, bool expected) =>
        Assert.Equal(expected, Read(compat ? ["--rules-compat", "1.10"] : [], new() { ["REDIRECT_DNS"] = generic, ["ISTIO_META_DNS_CAPTURE"] = alias }).RedirectDns);

    [Theory]
    [InlineData("-p 16001 -z 16006 -e 16008")]
    [InlineData("--envoy-port=16001 --inbound-capture-port 16006 --inbound-tunnel-port=16008")]
    [InlineData("-p16001 -z=16006 -e16008")]
    public void A_flag_in_any_spelling_beats_a_variable(string line)
    {
        CaptureOptions options = Read(line.Split(' '), new() { ["ENVOY_PORT"] = "1", ["INBOUND_CAPTURE_PORT"] = "2", ["INBOUND_TUNNEL_PORT"] = "3" });
        Assert.Equal((16001, 16006, 16008), (options.ProxyPort, options.InboundPort, options.TunnelPort));
    }

    [Fact]
    public void Switches_take_a_value_only_after_an_equals_sign()
    {
        Assert.True(Read(["-n", "--redirect-dns", "-b", "80"], []).DryRun);
        Assert.False(Read(["--redirect-dns=false"], new() { ["ISTIO_META_DNS_CAPTURE"] = "true" }).RedirectDns);
        Assert.True(Read(["-nf"], []).DryRun);
    }

    [Theory]
    [InlineData("--no-such-flag", "unknown flag: --no-such-flag")]
    [InlineData("-Q", "unknown shorthand flag: 'Q' in -Q")]
    [InlineData("-b", "flag needs an argument: --istio-inbound-ports")]
    public void Unknown_flags_are_refused_in_the_classic_words(string flag, string problem)
    {
        Assert.False(CaptureFlagParser.TryParse([flag], out _, out string said));
        Assert.Equal(problem, said);
    }

    [Theory]
    [InlineData("ISTIO_INBOUND_PORTS", "80, 8000:8100,,443", null)]
    [InlineData("ISTIO_INBOUND_PORTS", "80\n-A OUTPUT -j DROP", "is not a port")]
    [InlineData("ISTIO_INBOUND_PORTS", "0", "is not a port")]
    [InlineData("ISTIO_INBOUND_PORTS", "65536", "is not a port")]
    [InlineData("ISTIO_INBOUND_PORTS", "90:80", "is not a port")]
    [InlineData("ISTIO_LOCAL_EXCLUDE_PORTS", "80;reboot", "is not a port")]
    [InlineData("ISTIO_SERVICE_CIDR", "10.0.0.0/8,*", "stands only alone")]
    [InlineData("ISTIO_SERVICE_CIDR", "10.0.0.0/33", "is not an address range")]
    [InlineData("ISTIO_SERVICE_CIDR", "10.1/16", "is not an address range")]
    [InlineData("ISTIO_SERVICE_CIDR", "fe80::%eth0/64", "is not an address range")]
    [InlineData("ISTIO_SERVICE_EXCLUDE_CIDR", "*", "stands only alone")]
    [InlineData("ISTIO_EXCLUDE_INTERFACES", "eth0 -j ACCEPT", "is not the name of an interface")]
    [InlineData("ISTIO_EXCLUDE_INTERFACES", "a-name-much-too-long", "is not the name of an interface")]
    [InlineData("KUBE_VIRT_INTERFACES", "\"lo", "is not the name of an interface")]
    [InlineData("PROXY_UID", "istio-proxy", "is not a numeric id")]
    [InlineData("ISTIO_OUTBOUND_OWNER_GROUPS", "no-such-group", "there is no group")]
    [InlineData("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "10.0.0.0/8", "is not an IPv4 loopback range")]
    [InlineData("ISTIO_INBOUND_TPROXY_MARK", "-1", "is not a positive number")]
    [InlineData("INBOUND_CAPTURE_PORT", "15006 ", null)]
    [InlineData("DUAL_STACK", "yes", "is neither true nor false")]
    [InlineData("FORCE_IPTABLES_BINARY", "x", "is not a back end")]
    [InlineData("VMSIDECAR_RULES_COMPAT", "1.9", "is not a rule set")]
    public void Bad_values_are_named_and_good_ones_pass(string variable, string value, string? problem)
    {
        List<ConfigError> errors = [];
        Read([], new() { [variable] = value }, errors);
        if (problem is null) { Assert.Empty(errors); return; }
        ConfigError error = Assert.Single(errors);
        Assert.Equal(variable, error.Key);
        Assert.Contains(problem, error.Problem, StringComparison.Ordinal);
        Assert.NotEmpty(error.Fix);
    }

    [Fact]
    public void All_mistakes_are_reported_at_once()
    {
        List<ConfigError> errors = [];
        Read(["-p", "x"], new() { ["ISTIO_SERVICE_CIDR"] = "y", ["ISTIO_INBOUND_PORTS"] = "z,80,w" }, errors);
        Assert.Equal(4, errors.Count);
    }

    [Fact]
    public void Ranges_lose_host_bits_and_bare_addresses_are_hosts() =>
        Assert.Equal(["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"], Read([], new() { ["ISTIO_SERVICE_CIDR"] = "10.1.2.3/8,192.0.2.7,2001:db8::5/32" }).OutboundCidrs.Select(c => c.ToString()));

    [Fact]
    public void Names_without_a_resolver_are_not_captured_and_that_is_said()
    {
        List<ConfigError> errors = [];
        Assert.False(Read(["--redirect-dns"], [], errors, s_host with { ResolvConf = "search x\n" }).RedirectDns);
        Assert.True(Assert.Single(errors).IsWarning);
        errors.Clear();
        Read(["--redirect-dns"], [], errors, s_host with { ResolvConf = null });
        Assert.False(Assert.Single(errors).IsWarning);
        errors.Clear();
        Assert.True(Read(["--redirect-dns", "--capture-all-dns"], [], errors, s_host with { ResolvConf = null }).CaptureAllDns);
        Assert.Empty(errors);
    }

    [Fact]
    public void Dual_stack_needs_a_global_address_and_a_v6_only_host_needs_no_switch()
    {
        Assert.True(Read(["--dual-stack"], []).IPv6);
        Assert.False(Read(["--dual-stack"], [], null, s_host with { Addresses = [IPAddress.Parse("10.0.0.1"), IPAddress.Parse("fe80::1")] }).IPv6);
        Assert.True(Read([], [], null, s_host with { Addresses = [IPAddress.Parse("2001:db8::1")] }).IPv6);
    }

    [Fact]
    public void Groups_are_numbers_in_the_rules_and_an_empty_list_is_nobody()
    {
        CaptureOptions some = Read([], new() { ["ISTIO_OUTBOUND_OWNER_GROUPS"] = "java,202", ["ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"] = "888" });
        Assert.Equal([201u, 202u], some.OwnerGroups!.Value);
        Assert.Equal([888u], some.ExcludedOwnerGroups);
        Assert.Null(Read([], new() { ["ISTIO_OUTBOUND_OWNER_GROUPS"] = "*" }).OwnerGroups);
        Assert.Empty(Read([], new() { ["ISTIO_OUTBOUND_OWNER_GROUPS"] = "" }).OwnerGroups!.Value);
        List<ConfigError> errors = [];
        Read([], new() { ["ISTIO_OUTBOUND_OWNER_GROUPS"] = string.Join(',', Enumerable.Range(1, 65)) }, errors);
        Assert.Single(errors);
    }

    private static CaptureOptions Read(IReadOnlyList<string> arguments, Dictionary<string, string> environment, List<ConfigError>? errors = null, CaptureHost? host = null)
    {
        Assert.True(CaptureFlagParser.TryParse(arguments, out ImmutableDictionary<string, string> flags, out string problem), problem);
        List<ConfigError> found = errors ?? [];
        CaptureOptions options = new CaptureOptionsReader(host ?? s_host, environment, found).Read(flags);
        if (errors is null) { Assert.DoesNotContain(found, e => !e.IsWarning); }
        return options;
    }
}
