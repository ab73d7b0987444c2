using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using VmSidecar.Commands;
using VmSidecar.Configuration;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>
/// The real executable on hosts where something is wrong with /run, with the tools or with whoever started it: one clear message at once, the host as it
/// was, and clean that works whatever is wrong.
/// </summary>
public sealed class BadHostTests
{
    private static readonly string[] s_rules = ["-b", "*", "-i", "*", "-u", "113", "-g", "113", "--redirect-dns", "--dual-stack"];

    /// <summary>Mounts over /run of the executable's root, in a mount namespace of its own.</summary>
    public static TheoryData<string, string, string> Disks
    {
        get
        {
            var rows = new TheoryData<string, string, string>();
            foreach (string backend in new[] { "iptables-nft", "iptables-legacy", "nftables" })
            {
                rows.Add(backend, "mount -t tmpfs -o ro,size=64k none run", "Read-only file system");
                rows.Add(backend, "mount -t tmpfs -o size=4k none run; mkdir run/vmsidecar; cat /dev/zero > run/vmsidecar/fill 2>/dev/null", "No space left on device");
                rows.Add(backend, "mount -t tmpfs -o nr_inodes=1 none run", "No space left on device");
            }
            return rows;
        }
    }

    [Theory]
    [MemberData(nameof(Disks))]
    public async Task A_disk_that_takes_no_file_refuses_apply_before_any_change_and_lets_clean_go_on(string backend, string disk, string reason)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        string before = await RulesAsync(lab);
        CommandResult refused = await RunAsync(lab, disk, ["apply", .. s_rules, "--backend", backend]);
        Assert.Equal(1, refused.ExitCode);
        Assert.Contains($"cannot be written, so no rule was put on: {reason}", refused.Error, StringComparison.Ordinal);
        Assert.Contains("Free space there, or mount it writable", refused.Error, StringComparison.Ordinal);
        Assert.Single(refused.Error.Trim().Split('\n'));
        Assert.Equal(before, await RulesAsync(lab));

        CommandResult applied = await RunAsync(lab, "true", ["apply", .. s_rules, "--backend", backend]);
        Assert.True(applied.Succeeded, applied.Error);
        Assert.Contains("15001", await RulesAsync(lab), StringComparison.Ordinal);
        CommandResult cleaned = await RunAsync(lab, disk, ["clean"]);
        Assert.True(cleaned.Succeeded, cleaned.Error);
        Assert.Equal("capture rules are removed", cleaned.Output.Trim());
        Assert.DoesNotContain("15001", await RulesAsync(lab), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_ip6tables_the_first_family_goes_back_and_the_way_out_is_named()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        CaptureOptions options = CaptureLab.Options with { IPv6 = true, Backend = CaptureBackendKind.IptablesNft };
        FatalException refusal = await Assert.ThrowsAsync<FatalException>(() => lab.Runner(new Without(lab.Vm.Commands, "ip6tables")).ApplyAsync(options, CancellationToken.None));
        Assert.Contains("ip6tables-nft-restore is not installed", refusal.Problem, StringComparison.Ordinal);
        Assert.Contains("leave IPv6 out", refusal.Fix, StringComparison.Ordinal);
        Assert.DoesNotContain("15001", await RulesAsync(lab), StringComparison.Ordinal);
        await lab.Runner(new Without(lab.Vm.Commands, "ip6tables")).ApplyAsync(options with { IPv6 = false }, CancellationToken.None);
        Assert.True(await lab.Runner(new Without(lab.Vm.Commands, "ip6tables")).CleanAsync(CancellationToken.None));
    }

    /// <summary>The terminal hangs up while an Enter is waited for: the rules are taken back, not left to nobody.</summary>
    [Theory]
    [InlineData("HUP")]
    [InlineData("TERM")]
    public async Task An_unconfirmed_apply_whose_shell_is_gone_takes_the_rules_back(string signal)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        string before = await RulesAsync(lab);
        // The reader of a pipe that stays open: no line, and no end of input, ever comes.
        CommandResult ended = await RunAsync(lab, $"mkfifo pipe; exec 3<>pipe; (while ! grep -q Enter out 2>/dev/null; do sleep 0.05; done; nft -s list ruleset > seen; kill -{signal} $$) & exec <&3 >out 2>&1", ["apply", .. s_rules, "--backend", "nftables", "--confirm", "300"]);
        Assert.Equal(1, ended.ExitCode);
        Assert.Contains("15001", await File.ReadAllTextAsync(Path.Combine(lab.State, "seen")), StringComparison.Ordinal);
        Assert.Equal(before, await RulesAsync(lab));
    }

    [Fact]
    public async Task Rules_that_capture_nothing_are_said_to()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        CommandResult applied = await RunAsync(lab, "true", ["apply", "-u", "113", "-g", "113"]);
        Assert.True(applied.Succeeded, applied.Error);
        Assert.Contains("these rules capture nothing", applied.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Help_names_only_flags_that_there_are()
    {
        string[] own = ["json", "root", "confirm", "repair", "interval", "help"];
        string[] named = [.. Regex.Matches(CaptureHelp.Text, "--([a-z0-9-]+)").Select(m => m.Groups[1].Value).Distinct()];
        Assert.True(named.Length > 20);
        Assert.Empty(named.Except(own).Except(CaptureFlag.All.Select(f => f.Name)));
        foreach (Match pair in Regex.Matches(CaptureHelp.Text, "-([a-z]), --([a-z-]+)")) { Assert.Equal(pair.Groups[1].Value[0], CaptureFlag.All.Single(f => f.Name == pair.Groups[2].Value).Short); }
    }

    private static async Task<string> RulesAsync(CaptureLab lab) => await lab.Vm.RunAsync("nft -s list ruleset") + (lab.HasLegacyTables(VmSidecar.Iptables.IpFamily.V4) ? await lab.SaveAsync("iptables-legacy") : "");

    private static async Task<CommandResult> RunAsync(CaptureLab lab, string setUp, string[] arguments)
    {
        Directory.CreateDirectory(Path.Combine(lab.State, "run"));
        Directory.CreateDirectory(Path.Combine(lab.State, "etc"));
        await File.WriteAllTextAsync(Path.Combine(lab.State, "etc/resolv.conf"), "nameserver 127.0.0.53\n");
        // A suite under nohup(1) passes on that hang-ups are ignored.
        string dotnet = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "../../../dotnet"));
        return await lab.Vm.Commands.RunAsync("sh",
            ["-c", $"cd {lab.State}; {setUp}; exec env --default-signal=HUP \"$@\"", "sh", dotnet, "exec", Path.Combine(AppContext.BaseDirectory, "vmsidecar.dll"), "iptables", .. arguments, "--root", lab.State], "", CancellationToken.None)
            .WaitAsync(Test.Deadline);
    }

    /// <summary>A host where the programs of a name are not installed.</summary>
    private sealed class Without(ICommandRunner inner, string prefix) : ICommandRunner
    {
        public Task<CommandResult> RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop) => program.StartsWith(prefix, StringComparison.Ordinal)
            ? Task.FromResult(new CommandResult(CommandResult.NotStarted, "", $"{program} is not installed")) : inner.RunAsync(program, arguments, input, stop);
    }
}
