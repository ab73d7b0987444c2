using System.Collections.Immutable;
using VmSidecar.Configuration;
using VmSidecar.Iptables;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>Clean removes what is ours or pilot-agent's, of any version, whole or partial, and nothing else: with real tables, both variants.</summary>
public sealed class OwnershipTests
{
    public static TheoryData<string> Variants => ["iptables-nft", "iptables-legacy"];

    [Theory]
    [MemberData(nameof(Variants))]
    public async Task Whatever_pilot_agent_left_is_removed_and_foreign_rules_stay_byte_for_byte(string variant)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        string before = await LoadForeignAsync(lab, variant);
        foreach (PilotCase recorded in PilotCase.All.Where(c => c.Exit == 0))
        {
            await lab.Vm.RunAsync($"{variant}-restore --noflush -w 5", Restore(recorded.Tables));
            Assert.True(await lab.Runner().CleanAsync(CancellationToken.None), recorded.ToString());
            Assert.Equal(before, await lab.SaveAsync(variant));
        }
    }

    [Theory]
    [MemberData(nameof(Variants))]
    public async Task Any_part_of_an_install_is_removed(string variant)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        string before = await LoadForeignAsync(lab, variant);
        var random = new Random(7);
        PilotCase[] plain = [.. PilotCase.All.Where(c => c.Exit == 0 && c.Name is not ("kubevirt" or "exclude-interfaces"))]; // a bare RETURN without its jump is nobody's
        for (int round = 0; round < 30; round++)
        {
            PilotCase recorded = plain[random.Next(plain.Length)];
            ImmutableArray<InstalledTable> part = [.. recorded.Tables.Select(t => t with { Rules = [.. t.Rules.Where(r => IsDnsReturn(r) || random.Next(3) > 0)] })];
            await lab.Vm.RunAsync($"{variant}-restore --noflush -w 5", Restore(part));
            await lab.Runner().CleanAsync(CancellationToken.None);
            Assert.Equal(before, await lab.SaveAsync(variant));
        }
    }

    /// <summary>Shapes of the versions between, which no recording holds (reference 05 section 4.6).</summary>
    [Theory]
    [InlineData("1.11-1.19 zones", "*raw\n-A OUTPUT -p udp -m udp --dport 53 -m owner --uid-owner 113 -j CT --zone 1\n-A OUTPUT -p udp -m udp --sport 15053 -m owner --gid-owner 113 -j CT --zone 2\n-A OUTPUT -d 10.0.0.2/32 -p udp -m udp --dport 53 -j CT --zone 2\n-A PREROUTING -d 10.0.0.2/32 -p udp -m udp --sport 53 -j CT --zone 1\nCOMMIT\n")]
    [InlineData("1.20-1.22 zones", "*raw\n-A PREROUTING -s 10.0.0.2/32 -p udp -m udp --sport 53 -j CT --zone 1\nCOMMIT\n")]
    [InlineData("1.23-1.24 chains", "*nat\n:ISTIO_OUTPUT - [0:0]\n-A OUTPUT -p tcp -j ISTIO_OUTPUT\n-A OUTPUT -p udp -j ISTIO_OUTPUT\nCOMMIT\n*raw\n:ISTIO_OUTPUT - [0:0]\n-A OUTPUT -p udp -j ISTIO_OUTPUT\n-A ISTIO_OUTPUT -d 10.0.0.2/32 -p udp -m udp --dport 53 -j CT --zone 2\nCOMMIT\n")]
    [InlineData("1.13-1.23 drop-invalid", "*nat\n:ISTIO_OUTPUT - [0:0]\n-A OUTPUT -p tcp -j ISTIO_OUTPUT\nCOMMIT\n*mangle\n:ISTIO_INBOUND - [0:0]\n-A PREROUTING -p tcp -j ISTIO_INBOUND\n-A PREROUTING -m conntrack --ctstate INVALID -j DROP\nCOMMIT\n")]
    [InlineData("twice the same jump", "*nat\n:ISTIO_OUTPUT - [0:0]\n-A OUTPUT -p tcp -j ISTIO_OUTPUT\n-A OUTPUT -p tcp -j ISTIO_OUTPUT\nCOMMIT\n")]
    [InlineData("left by a clean without the flag", "*nat\n-A OUTPUT -p udp -m udp --dport 53 -m owner --uid-owner 113 -j RETURN\n-A OUTPUT -p udp -m udp --dport 53 -m owner --gid-owner 113 -j RETURN\n-A OUTPUT -d 169.254.169.254/32 -p udp -m udp --dport 53 -j REDIRECT --to-ports 15053\nCOMMIT\n")]
    public async Task Shapes_between_the_versions_are_removed(string name, string rules)
    {
        Assert.NotEmpty(name);
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        string before = await LoadForeignAsync(lab, "iptables-nft");
        await lab.Vm.RunAsync("iptables-nft-restore --noflush", rules);
        Assert.True(await lab.Runner().CleanAsync(CancellationToken.None));
        Assert.Equal(before, await lab.SaveAsync());
    }

    [Theory]
    [MemberData(nameof(Variants))]
    public async Task Ours_of_any_options_go_on_over_what_was_there_and_off_again(string variant)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        string before = await LoadForeignAsync(lab, variant);
        foreach (PilotCase recorded in PilotCase.All)
        {
            CaptureOptions options = PilotCase.Options(
                [.. recorded.Arguments, .. recorded.Version == "1.10" ? ["--rules-compat", "1.10"] : Array.Empty<string>(), .. recorded.Version == "1.31" ? ["--dual-stack"] : Array.Empty<string>()], PilotCase.Host);
            if (recorded.Exit == 0) { await lab.Vm.RunAsync($"{variant}-restore --noflush -w 5", Restore(recorded.Tables)); }
            Assert.True(await lab.Runner().ApplyAsync(options, CancellationToken.None), recorded.ToString());
            Assert.Equal("", string.Join('\n', (await lab.Runner().DiffAsync(options, CancellationToken.None)).Tables.Select(t => t.Diff)));
            Assert.False(await lab.Runner().ApplyAsync(options, CancellationToken.None), recorded.ToString());
            if (recorded.Exit == 0) { Assert.True(await lab.Runner().CleanAsync(CancellationToken.None)); } // else: over the last one
        }
        await lab.Runner().CleanAsync(CancellationToken.None);
        Assert.Equal(Normal(before), Normal(await lab.SaveAsync(variant)));
        Assert.DoesNotContain("133", await lab.Vm.RunAsync("ip rule") + await lab.Vm.RunAsync("ip -6 rule"), StringComparison.Ordinal);
        Assert.DoesNotContain("::6", await lab.Vm.RunAsync("ip -6 addr show dev lo"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rules_of_both_variants_are_removed_and_rules_of_others_in_both_are_a_refusal()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        PilotCase recorded = PilotCase.All.First(c => c.Name == "vm-default-with-dns");
        foreach (string variant in Variants.Select(v => v.Data)) { await lab.Vm.RunAsync($"{variant}-restore --noflush -w 5", Restore(recorded.Tables)); }
        Assert.True(await lab.Runner().ApplyAsync(CaptureLab.Options, CancellationToken.None));
        Assert.DoesNotContain("ISTIO", await lab.SaveAsync("iptables-legacy"), StringComparison.Ordinal);
        Assert.Contains("vmsidecar:", await lab.SaveAsync("iptables-nft"), StringComparison.Ordinal);
        Assert.True(await lab.Runner().CleanAsync(CancellationToken.None));

        foreach (string variant in Variants.Select(v => v.Data)) { await lab.Vm.RunAsync($"{variant} -t nat -A POSTROUTING -o eth7 -j MASQUERADE"); }
        VmSidecar.Lifecycle.FatalException refusal = await Assert.ThrowsAsync<VmSidecar.Lifecycle.FatalException>(() => lab.Runner().ApplyAsync(CaptureLab.Options, CancellationToken.None));
        Assert.Contains("both iptables-nft and iptables-legacy", refusal.Message, StringComparison.Ordinal);
        Assert.True(await lab.Runner().ApplyAsync(CaptureLab.Options with { Backend = CaptureBackendKind.IptablesLegacy }, CancellationToken.None));
        Assert.Contains("vmsidecar:", await lab.SaveAsync("iptables-legacy"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_variant_that_holds_others_rules_is_the_one_used()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await lab.Vm.RunAsync("iptables-legacy -t nat -A POSTROUTING -o eth7 -j MASQUERADE");
        await lab.Runner().ApplyAsync(CaptureLab.Options, CancellationToken.None);
        Assert.Contains("vmsidecar:", await lab.SaveAsync("iptables-legacy"), StringComparison.Ordinal);
        Assert.DoesNotContain("vmsidecar:", await lab.SaveAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Native_tables_of_pilot_agent_and_of_ours_go_whatever_the_back_end_is_now()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await lab.Vm.RunAsync("nft -f -", "add table inet firewalld\nadd chain inet firewalld x { type filter hook input priority 10; }\n");
        string before = await lab.Vm.RunAsync("nft -s list ruleset");
        await lab.Runner().ApplyAsync(CaptureLab.Options with { Backend = CaptureBackendKind.Nftables }, CancellationToken.None);
        foreach (string table in new[] { "nat", "mangle", "raw" }) { await lab.Vm.RunAsync($"nft add table inet istio-proxy-{table}"); }
        Assert.True(await lab.Runner().ApplyAsync(CaptureLab.Options, CancellationToken.None));
        string now = await lab.Vm.RunAsync("nft list tables");
        Assert.DoesNotContain("inet vmsidecar", now, StringComparison.Ordinal);
        Assert.DoesNotContain("istio-proxy", now, StringComparison.Ordinal);
        await lab.Runner().ApplyAsync(CaptureLab.Options with { Backend = CaptureBackendKind.Nftables }, CancellationToken.None);
        Assert.DoesNotContain("ISTIO", await lab.SaveAsync(), StringComparison.Ordinal);
        await lab.Runner().CleanAsync(CancellationToken.None);
        Assert.Equal(before, await lab.Vm.RunAsync("nft -s list ruleset"));
    }

    [Fact]
    public async Task Native_drift_is_named_and_repaired()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        CaptureOptions options = CaptureLab.Options with { Backend = CaptureBackendKind.Nftables };
        Assert.NotEmpty((await lab.Runner().DiffAsync(options, CancellationToken.None)).Tables);
        await lab.Runner().ApplyAsync(options, CancellationToken.None);
        Assert.Empty((await lab.Runner().DiffAsync(options, CancellationToken.None)).Tables);
        await lab.Vm.RunAsync("nft flush chain inet vmsidecar nat4-istio-redirect");
        await lab.Vm.RunAsync("nft add rule inet vmsidecar nat-output tcp dport 99 return");
        TableDiff drift = (await lab.Runner().DiffAsync(options, CancellationToken.None)).Tables.Single().Diff;
        Assert.Contains("to Envoy outbound", Assert.Single(drift.Missing), StringComparison.Ordinal);
        Assert.Contains("dport 99", Assert.Single(drift.Extra), StringComparison.Ordinal);
        Assert.NotEmpty((await lab.Runner().DiffAsync(options with { ProxyPort = 16001 }, CancellationToken.None)).Tables);
        Assert.True(await lab.Runner().ApplyAsync(options, CancellationToken.None));
        Assert.Empty((await lab.Runner().DiffAsync(options, CancellationToken.None)).Tables);
        await lab.Vm.RunAsync("nft flush ruleset");
        Assert.True(await lab.Runner().ApplyAsync(options, CancellationToken.None));
    }

    [Fact]
    public async Task Drift_is_named_and_apply_repairs_it()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await lab.Runner().ApplyAsync(CaptureLab.Options, CancellationToken.None);
        await lab.Vm.RunAsync("iptables-nft -t nat -D ISTIO_OUTPUT 1");
        await lab.Vm.RunAsync("iptables-nft -t nat -A ISTIO_OUTPUT -p tcp --dport 99 -j RETURN");
        await lab.Vm.RunAsync("iptables-nft -t raw -F PREROUTING");
        (_, ImmutableArray<(IpFamily Family, TableDiff Diff)> drift) = await lab.Runner().DiffAsync(CaptureLab.Options, CancellationToken.None);
        Assert.Contains(drift, d => d.Diff.Table == "nat" && d.Diff.Missing.Single().Contains("open connections go on", StringComparison.Ordinal) && d.Diff.Extra.Single().Contains("--dport 99", StringComparison.Ordinal));
        Assert.Contains(drift, d => d.Diff.Table == "raw" && d.Diff.Missing.Single().StartsWith("-A PREROUTING", StringComparison.Ordinal));
        Assert.True(await lab.Runner().ApplyAsync(CaptureLab.Options, CancellationToken.None));
        Assert.Empty((await lab.Runner().DiffAsync(CaptureLab.Options, CancellationToken.None)).Tables);
    }

    [Fact]
    public async Task Runs_at_once_follow_one_another()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        string before = await LoadForeignAsync(lab, "iptables-nft");
        await Task.WhenAll(Enumerable.Range(0, 6).Select(i => Task.Run(() => i % 2 == 0
            ? lab.Runner().ApplyAsync(CaptureLab.Options with { ProxyUids = [(uint)(100 + i)] }, CancellationToken.None)
            : lab.Runner().CleanAsync(CancellationToken.None))));
        await lab.Runner().ApplyAsync(CaptureLab.Options, CancellationToken.None);
        Assert.Empty((await lab.Runner().DiffAsync(CaptureLab.Options, CancellationToken.None)).Tables);
        await lab.Runner().CleanAsync(CancellationToken.None);
        Assert.Equal(before, await lab.SaveAsync());
    }

    private static async Task<string> LoadForeignAsync(CaptureLab lab, string variant)
    {
        await lab.Vm.RunAsync($"{variant}-restore", ForeignRules.Text);
        string before = await lab.SaveAsync(variant);
        Assert.Contains("DOCKER-USER", before, StringComparison.Ordinal);
        return before;
    }

    private static bool IsDnsReturn(InstalledRule rule) => rule.Spec.EndsWith("-j RETURN", StringComparison.Ordinal) && rule.Chain == "OUTPUT";

    /// <summary>Legacy tables, once asked for, stay listed while the namespace lives; that IPv6 ones are empty is all that counts.</summary>
    private static string Normal(string saved) => string.Join('\n', saved.Split('\n').Where(l => l.StartsWith('-') || l.Contains(" - ", StringComparison.Ordinal)));

    internal static string Restore(ImmutableArray<InstalledTable> tables) => string.Concat(tables.Select(t =>
        $"*{t.Name}\n{string.Concat(t.Chains.Select(c => $":{c} - [0:0]\n"))}{string.Concat(t.Rules.Select(r => $"-A {r.Chain} {r.Spec}\n"))}COMMIT\n"));
}
