using System.Text.RegularExpressions;
using VmSidecar.Configuration;
using VmSidecar.Iptables;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>Beside other programs: docker, podman, ufw, firewalld and fail2ban keep every byte, counters included; the locks of iptables are waited for; nothing is loaded by looking.</summary>
public sealed partial class CoexistenceTests
{
    private const string Chaff = @"^(?:\[\d+:\d+\] )?-A (?:ISTIO_\w+ |.*(?:vmsidecar:))|^:ISTIO_";

    public static TheoryData<string> Backends => ["iptables-nft", "iptables-legacy", "nftables"];

    [Theory]
    [MemberData(nameof(Backends))]
    public async Task Rules_of_others_keep_every_byte_and_count_while_ours_are_on_and_after(string backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        string variant = backend == "nftables" ? "iptables-nft" : backend;
        await lab.Vm.RunAsync($"{variant}-restore -c", Counted().Replace(ForeignRules.Text, "[7:420] -A "));
        await lab.Vm.RunAsync("nft -f -", ForeignRules.Native);
        string before = await AllAsync(lab, variant);
        Assert.Contains("[7:420] -A NETAVARK-DN-1D8721804F16F", before, StringComparison.Ordinal);
        CaptureOptions options = CaptureLab.Options with { Backend = SafetyTests.Kind(backend), IPv6 = true, Tproxy = true, DropInvalid = true };
        await lab.Runner().ApplyAsync(options, CancellationToken.None);
        if (backend != "nftables") { Assert.Contains("vmsidecar:", await lab.SaveAsync(variant), StringComparison.Ordinal); }
        Assert.Equal(Foreign(before), Foreign(await AllAsync(lab, variant)));
        await lab.Runner().ApplyAsync(options with { Tproxy = false, ProxyPort = 16001 }, CancellationToken.None);
        Assert.Equal(Foreign(before), Foreign(await AllAsync(lab, variant)));
        await lab.Runner().CleanAsync(CancellationToken.None);
        Assert.Equal(before, await AllAsync(lab, variant));
    }

    [Theory]
    [InlineData(CaptureBackendKind.Automatic)]
    [InlineData(CaptureBackendKind.IptablesNft)]
    [InlineData(CaptureBackendKind.Nftables)]
    public async Task Looking_loads_no_legacy_table(object backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        CaptureOptions options = CaptureLab.Options with { Backend = (CaptureBackendKind)backend };
        await lab.Runner().DiffAsync(options, CancellationToken.None);
        await lab.Runner().ApplyAsync(options, CancellationToken.None);
        await lab.Runner().SnapshotAsync(CancellationToken.None);
        await lab.Runner().CleanAsync(CancellationToken.None);
        Assert.False(lab.HasLegacyTables(IpFamily.V4));
        Assert.False(lab.HasLegacyTables(IpFamily.V6));
    }

    [Fact]
    public async Task The_lock_of_iptables_is_waited_for()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        CaptureOptions options = CaptureLab.Options with { Backend = CaptureBackendKind.IptablesLegacy };
        var commands = new OwnLock(lab.Vm.Commands, Path.Combine(lab.State, "xtables.lock"));
        Task<bool> waiting;
        using (new FileStream(commands.Path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None))
        {
            waiting = lab.Runner(commands).ApplyAsync(options, CancellationToken.None);
            await commands.Loading.WaitAsync(Test.Deadline);
            for (int i = 0; i < 20; i++) { await lab.Vm.RunAsync("true"); }
            Assert.False(waiting.IsCompleted);
        }
        Assert.True(await waiting.WaitAsync(Test.Deadline));
        Assert.Contains("vmsidecar:", await lab.SaveAsync("iptables-legacy"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_lock_nobody_gives_back_is_named_and_nothing_is_changed()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        var commands = new OwnLock(lab.Vm.Commands, Path.Combine(lab.State, "xtables.lock"));
        using var held = new FileStream(commands.Path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        var runner = new IptablesRunner(commands, lab.State, TimeProvider.System) { Kernel = new(commands) { HasLegacyTables = lab.HasLegacyTables, LockPatience = TimeSpan.FromSeconds(1) } };
        FatalException failure = await Assert.ThrowsAsync<FatalException>(() => runner.ApplyAsync(CaptureLab.Options with { Backend = CaptureBackendKind.IptablesLegacy }, CancellationToken.None));
        Assert.Contains("another program has held the lock of iptables for 1 s; see who with: fuser -v /run/xtables.lock", failure.Problem, StringComparison.Ordinal);
        Assert.DoesNotContain("vmsidecar:", await lab.SaveAsync("iptables-legacy"), StringComparison.Ordinal);
    }

    private static async Task<string> AllAsync(CaptureLab lab, string variant)
    {
        string text = await lab.Vm.RunAsync($"{variant}-save -c") + await lab.Vm.RunAsync("nft list table inet firewalld");
        return string.Join('\n', text.Split('\n').Where(l => !l.StartsWith('#')));
    }

    /// <summary>Without ours, and without tables that hold nothing but ours: native rules take counters of packets, of which there are none here.</summary>
    private static string Foreign(string saved)
    {
        string rest = string.Join('\n', saved.Split('\n').Where(l => !Regex.IsMatch(l, Chaff)));
        return EmptyTable().Replace(rest, "");
    }

    [GeneratedRegex("^-A ", RegexOptions.Multiline)]
    private static partial Regex Counted();

    [GeneratedRegex(@"\*\w+\n(?::\w+ ACCEPT \[\d+:\d+\]\n)*COMMIT\n")]
    private static partial Regex EmptyTable();

    /// <summary>iptables with a lock file of this test's, so that no other run on the machine is held up.</summary>
    private sealed class OwnLock(ICommandRunner inner, string path) : ICommandRunner
    {
        private readonly TaskCompletionSource _loading = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public string Path => path;

        /// <summary>A load has been asked for.</summary>
        public Task Loading => _loading.Task;

        public Task<CommandResult> RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop)
        {
            if (program.EndsWith("-restore", StringComparison.Ordinal)) { _loading.TrySetResult(); }
            return inner.RunAsync("env", [$"XTABLES_LOCKFILE={path}", program, .. arguments], input, stop);
        }
    }
}
