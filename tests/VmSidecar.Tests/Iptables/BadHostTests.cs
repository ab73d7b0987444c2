using System.Runtime.InteropServices;
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

    private static async Task<string> RulesAsync(CaptureLab lab) => await lab.Vm.RunAsync("nft -s list ruleset") + (lab.HasLegacyTables(VmSidecar.Iptables.IpFamily.V4) ? await lab.SaveAsync("iptables-legacy") : "");

    private static async Task<CommandResult> RunAsync(CaptureLab lab, string setUp, string[] arguments)
    {
        Directory.CreateDirectory(Path.Combine(lab.State, "run"));
        Directory.CreateDirectory(Path.Combine(lab.State, "etc"));
        await File.WriteAllTextAsync(Path.Combine(lab.State, "etc/resolv.conf"), "nameserver 127.0.0.53\n");
        string dotnet = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "../../../dotnet"));
        return await lab.Vm.Commands.RunAsync("sh",
            ["-c", $"cd {lab.State}; {setUp}; exec \"$@\"", "sh", dotnet, "exec", Path.Combine(AppContext.BaseDirectory, "vmsidecar.dll"), "iptables", .. arguments, "--root", lab.State], "", CancellationToken.None)
            .WaitAsync(Test.Deadline);
    }
}
