using VmSidecar.Configuration;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary><c>--run-validation</c> of the real executable: a real connection proves the rules, also for root; rules that do not work are exit code 126.</summary>
public sealed class RunValidationTests
{
    private static readonly string[] s_apply = ["apply", "-b", "*", "-i", "*", "-u", "113", "-g", "113", "--redirect-dns", "--run-validation"];

    [Theory]
    [InlineData("iptables-nft")]
    [InlineData("iptables-legacy")]
    [InlineData("nftables")]
    public async Task Rules_that_work_pass_for_both_families(string backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await new RealAgent(lab).RunAsync([.. s_apply, "--backend", backend, "--dual-stack", "--probe-timeout", "40s"]);
    }

    [Fact]
    public async Task Rules_that_do_not_are_126()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        RealAgent agent = new(lab);
        await agent.RunAsync([.. s_apply, "--probe-timeout", "40s"]);
        await lab.Vm.RunAsync("iptables-nft -t nat -F OUTPUT");
        InvalidOperationException failure = await Assert.ThrowsAsync<InvalidOperationException>(() => agent.RunAsync([.. s_apply, "--skip-rule-apply", "--probe-timeout", "100ms", "--iptables-probe-port", "15003"]));
        Assert.Contains("exit 126", failure.Message, StringComparison.Ordinal);
        Assert.Contains("no connection of uid 113 to 127.0.0.6:15003 arrived at port 15001 or 15006 within 0.1 s", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task While_Envoy_holds_the_ports_the_probe_says_so()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        lab.ListenTcp(lab.Vm, "0.0.0.0", 15001, "outbound", CaptureLab.Proxy, CaptureLab.Proxy);
        InvalidOperationException failure = await Assert.ThrowsAsync<InvalidOperationException>(() => new RealAgent(lab).RunAsync(s_apply));
        Assert.Contains("stop the agent first", failure.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("PROBE_TIMEOUT", "soon", "'soon' is not a duration")]
    [InlineData("IPTABLES_PROBE_PORT", "0", "'0' is not a port")]
    [InlineData("VMSIDECAR_FAILURE_MODE", "ajar", "'ajar' is not a failure mode")]
    [InlineData("VMSIDECAR_DEAD_LIMIT", "-1", "'-1' is not a positive number")]
    public void Bad_values_are_named(string variable, string value, string problem)
    {
        var mistakes = new List<ConfigError>();
        new CaptureOptionsReader(new CaptureHost(), new Dictionary<string, string> { [variable] = value }, mistakes).Read(System.Collections.Immutable.ImmutableDictionary<string, string>.Empty);
        Assert.Equal((variable, problem), Assert.Single(mistakes.Where(m => !m.IsWarning).Select(m => (m.Key, m.Problem))));
    }

    [Theory]
    [InlineData("CAPTURE_ALL_DNS", "true", "names go round in a circle")]
    [InlineData("ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE", "53", "excludes port 53")]
    public void What_is_hardly_meant_is_a_warning(string variable, string value, string problem)
    {
        var mistakes = new List<ConfigError>();
        Dictionary<string, string> environment = new() { [variable] = value, ["REDIRECT_DNS"] = "true", ["PROXY_UID"] = "113" };
        new CaptureOptionsReader(new CaptureHost { ResolvConf = "nameserver 127.0.0.53\n" }, environment, mistakes).Read(System.Collections.Immutable.ImmutableDictionary<string, string>.Empty);
        ConfigError warning = Assert.Single(mistakes);
        Assert.True(warning.IsWarning);
        Assert.Contains(problem, warning.Problem, StringComparison.Ordinal);
    }

    /// <summary>Every flag of every version (reference 05 section 3), with the values scripts give them.</summary>
    [Fact]
    public void Every_classic_flag_is_accepted()
    {
        string[] valued =
        [
            "envoy-port=15001", "inbound-capture-port=15006", "inbound-tunnel-port=15008", "proxy-uid=113", "proxy-gid=113", "istio-inbound-interception-mode=REDIRECT", "istio-inbound-tproxy-mark=1337",
            "istio-inbound-tproxy-route-table=133", "istio-inbound-ports=*", "istio-local-exclude-ports=22", "istio-exclude-interfaces=eth1", "istio-service-cidr=*", "istio-service-exclude-cidr=10.0.0.0/8",
            "istio-outbound-ports=80", "istio-local-outbound-ports-exclude=81", "kube-virt-interfaces=eth2", "iptables-probe-port=15002", "probe-timeout=5s", "network-namespace=/x", "iptables-version=nft", "force-iptables-binary=nft",
        ];
        string[] switches =
        [
            "dry-run", "restore-format", "skip-rule-apply", "run-validation", "redirect-dns", "capture-all-dns", "cni-mode", "iptables-trace-logging", "drop-invalid", "dual-stack", "reconcile", "cleanup-only", "force-apply", "native-nftables",
        ];
        CaptureOptions options = PilotCase.Options([.. valued.Select(v => "--" + v), .. switches.Select(s => "--" + s)], PilotCase.Host);
        Assert.True(options is { RunValidation: true, ProbePort: 15002, CleanupOnly: true, DryRun: true });
        string[] letters = ["-p", "-z", "-e", "-u", "-g", "-t", "-r"];
        PilotCase.Options([.. letters.SelectMany(l => new[] { l, "113" }), "-m", "TPROXY", "-b", "*", "-d", "22", "-c", "eth1", "-i", "*", "-x", "", "-q", "80", "-o", "81", "-k", "eth2", "-n", "-f"], PilotCase.Host);
    }
}
