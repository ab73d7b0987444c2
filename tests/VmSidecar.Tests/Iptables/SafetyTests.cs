using VmSidecar.Configuration;
using VmSidecar.Iptables;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Processes;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>Refusals, routes that others remove, leftovers of pilot-agent, and a host that goes down in the middle of an install.</summary>
public sealed class SafetyTests
{
    private static readonly CaptureOptions s_old = CaptureLab.Options with { ProxyPort = 16001, RedirectDns = false };
    private static readonly CaptureOptions s_tproxy = CaptureLab.Options with { Tproxy = true, IPv6 = true };

    public static TheoryData<string, string> Refusals
    {
        get
        {
            var rows = new TheoryData<string, string>();
            foreach (string backend in new[] { "iptables-nft", "iptables-legacy", "nftables" })
            {
                foreach (string call in new[] { "ip -4 rule add", "ip -4 route replace", "ip -6 route replace", "ip -6 addr replace", backend == "nftables" ? "nft -f" : $"ip6{backend[2..]}-restore" }) { rows.Add(backend, call); }
            }
            return rows;
        }
    }

    [Theory]
    [MemberData(nameof(Refusals))]
    public async Task A_call_refused_at_any_place_is_named_and_leaves_the_host_as_it_was(string backend, string call)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        CaptureOptions wanted = s_tproxy with { Backend = Kind(backend) };
        string empty = await AllAsync(lab, backend);
        FatalException refusal = await Assert.ThrowsAsync<FatalException>(() => lab.Runner(new Refusing(lab.Vm.Commands, call)).ApplyAsync(wanted, CancellationToken.None));
        Assert.Contains(call.Split(' ')[0], refusal.Problem, StringComparison.Ordinal);
        Assert.Contains("not today", refusal.Problem, StringComparison.Ordinal);
        Assert.Equal(empty, await AllAsync(lab, backend));

        // Rules in another back end stay as well: they go only when the new ones stand.
        string other = backend == "iptables-nft" ? "iptables-legacy" : "iptables-nft";
        await lab.Runner().ApplyAsync(s_old with { Backend = Kind(other) }, CancellationToken.None);
        string before = await AllAsync(lab, backend) + await lab.SaveAsync(other);
        await Assert.ThrowsAsync<FatalException>(() => lab.Runner(new Refusing(lab.Vm.Commands, call)).ApplyAsync(wanted, CancellationToken.None));
        Assert.Equal(before, await AllAsync(lab, backend) + await lab.SaveAsync(other));
    }

    [Fact]
    public async Task Without_ip_a_redirect_goes_on_and_tproxy_is_refused()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        var commands = new Missing(lab.Vm.Commands, "ip");
        Assert.True(await lab.Runner(commands).ApplyAsync(CaptureLab.Options, CancellationToken.None));
        FatalException refusal = await Assert.ThrowsAsync<FatalException>(() => lab.Runner(commands).ApplyAsync(s_tproxy, CancellationToken.None));
        Assert.Contains("ip is not installed", refusal.Problem, StringComparison.Ordinal);
        Assert.Empty((await lab.Runner().DiffAsync(CaptureLab.Options, CancellationToken.None)).Tables);
    }

    [Theory]
    [InlineData("ip -4 rule del pref 13300", "ip -4 rule pref 13300 fwmark 0x539 lookup 133")]
    [InlineData("ip -6 route flush table 133", "ip -6 route local default dev lo table 133")]
    [InlineData("ip -6 addr del ::6/128 dev lo", "ip -6 addr ::6/128 dev lo")]
    public async Task A_route_that_others_remove_is_drift_and_put_back(string act, string named)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await lab.Runner().ApplyAsync(s_tproxy, CancellationToken.None);
        Assert.Empty((await lab.Runner().DiffAsync(s_tproxy, CancellationToken.None)).Tables);
        await lab.Vm.RunAsync(act);
        Assert.Equal(named, Assert.Single(Assert.Single((await lab.Runner().DiffAsync(s_tproxy, CancellationToken.None)).Tables).Diff.Missing));
        Assert.True(await lab.Runner().ApplyAsync(s_tproxy, CancellationToken.None));
        Assert.Empty((await lab.Runner().DiffAsync(s_tproxy, CancellationToken.None)).Tables);
    }

    [Fact]
    public async Task Routes_of_pilot_agent_go_however_often_it_added_them_and_those_of_others_stay()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await lab.Vm.RunAsync("ip rule add pref 500 fwmark 0x7 lookup 100");
        await lab.Vm.RunAsync("ip route add local default dev lo table 100");
        string before = await RoutesAsync(lab);
        foreach (string family in new[] { "-4", "-6" })
        {
            foreach (int preference in new[] { 32763, 32764, 32765 }) { await lab.Vm.RunAsync($"ip {family} rule add pref {preference} fwmark 1337 lookup 133"); }
            await lab.Vm.RunAsync($"ip {family} route add local default dev lo table 133");
        }
        // Told to use another mark, it says so in its own rules only.
        await lab.Vm.RunAsync("iptables-nft-restore --noflush", "*mangle\n:ISTIO_DIVERT - [0:0]\n-A ISTIO_DIVERT -j MARK --set-xmark 0x4d/0xffffffff\n-A ISTIO_DIVERT -j ACCEPT\nCOMMIT\n");
        await lab.Vm.RunAsync("ip rule add fwmark 77 lookup 99");
        await lab.Vm.RunAsync("ip route add local default dev lo table 99");
        await lab.Vm.RunAsync("ip -6 addr add ::6/128 dev lo");
        Assert.True(await lab.Runner().CleanAsync(CancellationToken.None));
        Assert.Equal(before, await RoutesAsync(lab));
        Assert.False(await lab.Runner().CleanAsync(CancellationToken.None));
    }

    [Fact]
    public async Task An_unconfirmed_change_gives_routes_back_too()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await lab.Runner().ApplyAsync(s_tproxy, CancellationToken.None);
        string before = await lab.SaveAsync() + await RoutesAsync(lab);
        RuleSnapshot snapshot = await lab.Runner().SnapshotAsync(CancellationToken.None);
        await lab.Runner().ApplyAsync(s_old, CancellationToken.None);
        Assert.DoesNotContain("133", await RoutesAsync(lab), StringComparison.Ordinal);
        await lab.Runner().ReturnAsync(snapshot, CancellationToken.None);
        Assert.Equal(before, await lab.SaveAsync() + await RoutesAsync(lab));
    }

    /// <summary>The power goes in the middle of an install while something saves the rules for the next boot: half of ours is there before the agent, notes under /run are gone, or, where /run is a disk, stale.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_reboot_in_mid_install_is_mended(bool notesSurvive)
    {
        string saved, notes = Directory.CreateTempSubdirectory("vsc-notes").FullName;
        await using (CaptureLab first = await CaptureLab.CreateAsync())
        {
            await first.Vm.RunAsync("iptables-nft-restore", ForeignRules.Text);
            await first.Runner().ApplyAsync(s_tproxy with { Backend = CaptureBackendKind.Nftables }, CancellationToken.None);
            await Assert.ThrowsAnyAsync<Exception>(() => first.Runner(new Refusing(first.Vm.Commands, "ip6tables-nft-restore", always: true)).ApplyAsync(CaptureLab.Options with { IPv6 = true, Backend = CaptureBackendKind.IptablesNft }, CancellationToken.None));
            await first.Runner().ApplyAsync(CaptureLab.Options with { IPv6 = true, Backend = CaptureBackendKind.IptablesNft }, CancellationToken.None);
            saved = (await first.Vm.RunAsync("iptables-nft-save")).Replace("-A OUTPUT -m comment --comment \"vmsidecar: what leaves this host\" -j ISTIO_OUTPUT\n", "", StringComparison.Ordinal);
            foreach (string note in notesSurvive ? Directory.GetFiles(first.State, "capture.*") : []) { File.Copy(note, Path.Combine(notes, Path.GetFileName(note))); }
        }
        await using CaptureLab second = await CaptureLab.CreateAsync();
        foreach (string note in Directory.GetFiles(notes)) { File.Copy(note, Path.Combine(second.State, Path.GetFileName(note))); }
        await second.Vm.RunAsync("iptables-nft-restore", ForeignRules.Text);
        string before = await second.SaveAsync();
        await second.Vm.RunAsync("iptables-nft-restore", saved);
        Assert.NotEmpty((await second.Runner().DiffAsync(CaptureLab.Options, CancellationToken.None)).Tables);
        await second.Runner().ApplyAsync(CaptureLab.Options, CancellationToken.None);
        Assert.Empty((await second.Runner().DiffAsync(CaptureLab.Options, CancellationToken.None)).Tables);
        await second.Runner().CleanAsync(CancellationToken.None);
        Assert.Equal(before, await second.SaveAsync());
        Directory.Delete(notes, recursive: true);
    }

    internal static CaptureBackendKind Kind(string backend) => backend switch
    {
        "nftables" => CaptureBackendKind.Nftables,
        "iptables-legacy" => CaptureBackendKind.IptablesLegacy,
        _ => CaptureBackendKind.IptablesNft,
    };

    private static async Task<string> AllAsync(CaptureLab lab, string backend)
    {
        string rules = backend == "iptables-legacy" ? string.Join('\n', (await lab.SaveAsync(backend)).Split('\n').Where(l => l.Contains("-A", StringComparison.Ordinal))) : await lab.Vm.RunAsync("nft -s list ruleset");
        return rules + await RoutesAsync(lab);
    }

    private static async Task<string> RoutesAsync(CaptureLab lab)
    {
        string routes = await lab.Vm.RunAsync("ip rule") + await lab.Vm.RunAsync("ip -6 rule") + await lab.Vm.RunAsync("ip -6 addr show dev lo");
        foreach (string table in new[] { "133", "99", "100" })
        {
            foreach (string family in new[] { "-4", "-6" }) { routes += (await lab.Vm.Commands.RunAsync("ip", [family, "route", "show", "table", table], "", CancellationToken.None)).Output; }
        }
        return routes;
    }

    /// <summary>Refuses one call, the first time or always.</summary>
    private sealed class Refusing(ICommandRunner inner, string call, bool always = false) : ICommandRunner
    {
        private bool _refused;

        public Task<CommandResult> RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop)
        {
            if ((_refused && !always) || !$"{program} {string.Join(' ', arguments)}".StartsWith(call, StringComparison.Ordinal)) { return inner.RunAsync(program, arguments, input, stop); }
            _refused = true;
            return Task.FromResult(new CommandResult(2, "", "RTNETLINK answers: not today"));
        }
    }

    private sealed class Missing(ICommandRunner inner, string tool) : ICommandRunner
    {
        public Task<CommandResult> RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop) =>
            program == tool ? Task.FromResult(new CommandResult(CommandResult.NotStarted, "", $"{program} is not installed")) : inner.RunAsync(program, arguments, input, stop);
    }
}
