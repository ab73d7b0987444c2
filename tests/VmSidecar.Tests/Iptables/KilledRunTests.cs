using VmSidecar.Configuration;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Processes;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>A run that ends at any command leaves a host where packets go as before or as after, and the next run makes it whole; a refusal leaves what was there.</summary>
public sealed class KilledRunTests
{
    private static readonly CaptureOptions s_dual = CaptureLab.Options with { IPv6 = true };

    [Fact]
    public async Task A_kill_before_or_after_any_command_of_apply_is_mended_by_the_next_run()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        await lab.Vm.RunAsync("iptables-nft-restore", ForeignRules.Text);
        string before = await lab.SaveAsync();
        for (int step = 0; ; step++)
        {
            var commands = new Cut(lab.Vm.Commands, step / 2, after: step % 2 == 1);
            bool killed = await RunAsync(() => lab.Runner(commands).ApplyAsync(s_dual, CancellationToken.None));
            AssertWhole(await lab.SaveAsync());
            if (step % 4 < 2)
            {
                await lab.Runner().ApplyAsync(s_dual, CancellationToken.None);
                Assert.Empty((await lab.Runner().DiffAsync(s_dual, CancellationToken.None)).Tables);
            }
            await lab.Runner().CleanAsync(CancellationToken.None);
            Assert.Equal(before, await lab.SaveAsync());
            if (!killed) { Assert.True(step > 8); return; }
        }
    }

    [Fact]
    public async Task A_kill_at_any_command_of_clean_is_mended_by_the_next_run()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        string before = await lab.SaveAsync();
        for (int step = 0; ; step++)
        {
            await lab.Runner().ApplyAsync(s_dual, CancellationToken.None);
            var commands = new Cut(lab.Vm.Commands, step / 2, after: step % 2 == 1);
            bool killed = await RunAsync(() => lab.Runner(commands).CleanAsync(CancellationToken.None));
            AssertWhole(await lab.SaveAsync());
            await lab.Runner().CleanAsync(CancellationToken.None);
            Assert.Equal(before, await lab.SaveAsync());
            if (!killed) { Assert.True(step > 8); return; }
        }
    }

    [Theory]
    [InlineData(CaptureBackendKind.IptablesNft)]
    [InlineData(CaptureBackendKind.IptablesLegacy)]
    public async Task When_the_second_family_is_refused_the_first_goes_back(object backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        string variant = backend is CaptureBackendKind.IptablesLegacy ? "iptables-legacy" : "iptables-nft";
        CaptureOptions old = CaptureLab.Options with { Backend = (CaptureBackendKind)backend };
        CaptureOptions wanted = old with { IPv6 = true, ProxyPort = 16001 };
        FatalException refused = await Assert.ThrowsAsync<FatalException>(() => lab.Runner(new Refusing(lab.Vm.Commands)).ApplyAsync(wanted, CancellationToken.None));
        Assert.Contains("ip6tables", refused.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("ISTIO", await lab.SaveAsync(variant), StringComparison.Ordinal);

        await lab.Runner().ApplyAsync(old, CancellationToken.None);
        string before = await lab.SaveAsync(variant);
        await Assert.ThrowsAsync<FatalException>(() => lab.Runner(new Refusing(lab.Vm.Commands)).ApplyAsync(wanted, CancellationToken.None));
        Assert.Equal(before, await lab.SaveAsync(variant));
    }

    private static async Task<bool> RunAsync(Func<Task> act)
    {
        try
        {
            await act();
            return false;
        }
        catch (Killed)
        {
            return true;
        }
    }

    /// <summary>Every family's nat table, where packets are sent elsewhere, holds either all of ours or nothing.</summary>
    private static void AssertWhole(string saved)
    {
        foreach (string table in saved.Split("COMMIT").Where(t => t.Contains("*nat", StringComparison.Ordinal)))
        {
            Assert.Equal(table.Contains("-j ISTIO_OUTPUT", StringComparison.Ordinal), table.Contains("to Envoy outbound", StringComparison.Ordinal));
            Assert.Equal(table.Contains("-j ISTIO_INBOUND", StringComparison.Ordinal), table.Contains("to Envoy inbound", StringComparison.Ordinal));
        }
    }

    private sealed class Killed : Exception;

    /// <summary>Ends the run at the n-th command, before it or right after it.</summary>
    private sealed class Cut(ICommandRunner inner, int at, bool after) : ICommandRunner
    {
        private int _count;

        public async Task<CommandResult> RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop)
        {
            bool now = _count++ == at;
            if (now && !after) { throw new Killed(); }
            CommandResult done = await inner.RunAsync(program, arguments, input, stop);
            return now ? throw new Killed() : done;
        }
    }

    /// <summary>Refuses the first load of IPv6 rules, as a kernel without a module does.</summary>
    private sealed class Refusing(ICommandRunner inner) : ICommandRunner
    {
        private bool _refused;

        public Task<CommandResult> RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop)
        {
            if (_refused || !program.StartsWith("ip6tables", StringComparison.Ordinal) || !program.EndsWith("-restore", StringComparison.Ordinal)) { return inner.RunAsync(program, arguments, input, stop); }
            _refused = true;
            return Task.FromResult(new CommandResult(1, "", "ip6tables-restore: line 3 failed"));
        }
    }
}
