using System.Collections.Immutable;
using VmSidecar.Configuration;
using VmSidecar.Iptables;
using VmSidecar.Linux.Processes;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>The real executable, really killed, before, while and after each call that changes the host: what stands then is the old or the new, never a part.</summary>
public sealed class SigkillTests
{
    /// <summary>After a call the host is what it is before the next one and what it becomes while the tool outlives the agent: each step is met once.</summary>
    private static IEnumerable<(int Call, string Moment)> Steps(int calls) => Enumerable.Range(1, calls).Select(c => (c, "while")).Prepend((1, "before"));

    private static IEnumerable<(int Call, string Moment)> EveryMoment(int calls) => from call in Enumerable.Range(1, calls) from moment in new[] { "before", "while", "after" } select (call, moment);

    private static readonly string[] s_old = ["-p", "16001", "-b", "8080,9090", "-i", "10.0.0.0/8", "-u", "113", "-g", "113"];
    private static readonly string[] s_new = ["-b", "*", "-i", "*", "-u", "113", "-g", "113", "--redirect-dns", "--dual-stack"];

    public static TheoryData<string> Backends => ["iptables-nft", "iptables-legacy", "nftables"];

    [Theory]
    [MemberData(nameof(Backends))]
    public Task Apply_over_other_rules(string backend) => KillEverywhereAsync(backend, s_new, Steps);

    /// <summary>With routes of both families and at every moment: longer, for <c>-explicit only</c>.</summary>
    [Theory(Explicit = true)]
    [MemberData(nameof(Backends))]
    public Task Apply_with_routes(string backend) => KillEverywhereAsync(backend, [.. s_new, "-m", "TPROXY", "--drop-invalid"], EveryMoment);

    [Theory]
    [MemberData(nameof(Backends))]
    public Task Clean(string backend) => KillCleanAsync(backend, s_new, Steps);

    [Theory(Explicit = true)]
    [MemberData(nameof(Backends))]
    public Task Clean_with_routes(string backend) => KillCleanAsync(backend, [.. s_new, "-m", "TPROXY", "--drop-invalid"], EveryMoment);

    [Fact]
    public async Task Processes_at_once_follow_one_another()
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        RealAgent agent = new(lab);
        string[] foreign = await LoadForeignAsync(lab);
        await Task.WhenAll(agent.RunAsync([.. Apply("iptables-nft"), .. s_old]), agent.RunAsync([.. Apply("nftables"), .. s_new]), agent.RunAsync("clean"));
        await agent.RunAsync([.. Apply("iptables-nft"), .. s_new]);
        Assert.Empty((await agent.Runner.DiffAsync(PilotCase.Options([.. s_new, "--backend", "iptables-nft"], Host(lab)), CancellationToken.None)).Tables);
        await agent.RunAsync("clean");
        Assert.Empty(await OursAsync(lab));
        Assert.Equal(foreign, await ForeignAsync(lab));
    }

    /// <summary>A writer killed half-way leaves a tool with half a text: nothing of an unfinished table may go live.</summary>
    [Theory]
    [MemberData(nameof(Backends))]
    public async Task A_text_cut_short_changes_nothing(string backend)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        CaptureOptions old = PilotCase.Options([.. s_old, "--backend", backend], PilotCase.Host), wanted = PilotCase.Options([.. s_new, "--backend", backend], PilotCase.Host);
        await lab.Runner().ApplyAsync(old, CancellationToken.None);
        ImmutableArray<string> before = await OursAsync(lab);
        foreach (int tenth in Enumerable.Range(1, 9))
        {
            Exception failure = await Assert.ThrowsAnyAsync<Exception>(() => lab.Runner(new Cutting(lab.Vm.Commands, tenth / 10.0)).ApplyAsync(wanted, CancellationToken.None));
            Assert.IsType<VmSidecar.Lifecycle.FatalException>(failure);
            Assert.Equal(before, await OursAsync(lab));
        }
    }

    private static async Task KillCleanAsync(string backend, string[] options, Func<int, IEnumerable<(int Call, string Moment)>> steps)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        RealAgent agent = new(lab);
        string[] foreign = await LoadForeignAsync(lab);
        await agent.RunAsync([.. Apply(backend), .. options]);
        ImmutableArray<string> before = await OursAsync(lab);
        string[] calls = await agent.RunAsync("clean");
        foreach ((int call, string moment) in steps(calls.Length))
        {
            await agent.Runner.ApplyAsync(PilotCase.Options([.. options, "--backend", backend], Host(lab)), CancellationToken.None);
            Assert.Equal(before, await OursAsync(lab));
            await agent.KillAsync(call, moment, "clean");
            AssertOldOrNew(before, [], await OursAsync(lab), calls[call - 1], moment);
        }
        await agent.Runner.CleanAsync(CancellationToken.None);
        Assert.Empty(await OursAsync(lab));
        Assert.Equal(foreign, await ForeignAsync(lab));
    }

    private static async Task KillEverywhereAsync(string backend, string[] wanted, Func<int, IEnumerable<(int Call, string Moment)>> steps)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        RealAgent agent = new(lab);
        string[] foreign = await LoadForeignAsync(lab);
        CaptureOptions old = PilotCase.Options([.. s_old, "--backend", backend], Host(lab)), options = PilotCase.Options([.. wanted, "--backend", backend], Host(lab));
        await agent.Runner.ApplyAsync(old, CancellationToken.None);
        ImmutableArray<string> before = await OursAsync(lab);
        string[] calls = await agent.RunAsync([.. Apply(backend), .. wanted]);
        ImmutableArray<string> after = await OursAsync(lab);
        Assert.NotEqual(before, after);
        foreach ((int call, string moment) in steps(calls.Length))
        {
            await agent.Runner.CleanAsync(CancellationToken.None);
            await agent.Runner.ApplyAsync(old, CancellationToken.None);
            Assert.Equal(before, await OursAsync(lab));
            await agent.KillAsync(call, moment, [.. Apply(backend), .. wanted]);
            AssertOldOrNew(before, after, await OursAsync(lab), calls[call - 1], moment);
        }
        await agent.Runner.ApplyAsync(options, CancellationToken.None);
        Assert.Empty((await agent.Runner.DiffAsync(options, CancellationToken.None)).Tables);
        await agent.Runner.CleanAsync(CancellationToken.None);
        Assert.Empty(await OursAsync(lab));
        Assert.Equal(foreign, await ForeignAsync(lab));
    }

    private static string[] Apply(string backend) => ["apply", "--backend", backend];

    /// <summary>The resolver is the stand-in root's, the addresses are the lab's.</summary>
    private static CaptureHost Host(CaptureLab lab) => new()
    {
        ResolvConf = File.Exists(Path.Combine(lab.State, "etc/resolv.conf")) ? File.ReadAllText(Path.Combine(lab.State, "etc/resolv.conf")) : null,
        Addresses = [System.Net.IPAddress.Parse("10.99.0.1"), System.Net.IPAddress.Parse("fd99::1")],
    };

    private static void AssertOldOrNew(ImmutableArray<string> before, ImmutableArray<string> after, ImmutableArray<string> now, string call, string moment)
    {
        string[] Of(ImmutableArray<string> lines, string place) => [.. lines.Where(l => l.StartsWith(place, StringComparison.Ordinal))];
        foreach (string place in before.Concat(after).Concat(now).Select(l => l[..(l.IndexOf('|', StringComparison.Ordinal) + 1)]).Distinct())
        {
            string[] found = Of(now, place);
            Assert.True(found.SequenceEqual(Of(before, place)) || found.SequenceEqual(Of(after, place)), $"killed {moment} '{call}': {place}\n{string.Join('\n', found)}");
        }
    }

    /// <summary>Everything of ours, each line with the place that changes as a whole: a table of one family of one variant, our table of nftables, one route.</summary>
    private static async Task<ImmutableArray<string>> OursAsync(CaptureLab lab)
    {
        var lines = ImmutableArray.CreateBuilder<string>();
        foreach (InstalledRules variant in await lab.Runner().Kernel.InspectAsync(CancellationToken.None))
        {
            foreach ((IpFamily family, InstalledTable table) in variant.V4.Select(t => (IpFamily.V4, t)).Concat(variant.V6.Select(t => (IpFamily.V6, t))))
            {
                lines.AddRange(table.Owned.Chains.Select(c => $"{variant.Tools.Name} {family} {table.Name}|:{c}"));
                lines.AddRange(table.Owned.Outside.Concat(table.Owned.Inside).Select(r => $"{variant.Tools.Name} {family} {table.Name}|-A {r.Chain} {r.Spec}"));
            }
        }
        CommandResult native = await lab.Vm.Commands.RunAsync("nft", ["-s", "-n", "list", "table", "inet", "vmsidecar"], "", CancellationToken.None);
        if (native.Succeeded) { lines.AddRange(native.Output.Split('\n').Select(l => $"nftables|{l}")); }
        foreach (string family in new[] { "-4", "-6" })
        {
            lines.AddRange((await lab.Vm.RunAsync($"ip {family} rule")).Split('\n').Where(l => l.Contains("fwmark", StringComparison.Ordinal)).Select(l => $"rule {family} {l}|"));
            CommandResult route = await lab.Vm.Commands.RunAsync("ip", [family, "route", "show", "table", "133"], "", CancellationToken.None);
            lines.AddRange(route.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => $"route {family} {l}|"));
        }
        return lines.ToImmutable();
    }

    private static async Task<string[]> LoadForeignAsync(CaptureLab lab)
    {
        await lab.Vm.RunAsync("iptables-nft-restore", ForeignRules.Text);
        await lab.Vm.RunAsync("nft -f -", ForeignRules.Native);
        return await ForeignAsync(lab);
    }

    private static async Task<string[]> ForeignAsync(CaptureLab lab) =>
        [.. (await lab.SaveAsync()).Split('\n'), .. (await lab.Vm.RunAsync("nft -s list table inet firewalld")).Split('\n')];

    /// <summary>Gives the first tool that loads only the beginning of its text; what follows, the roll-back, gets all of its own.</summary>
    private sealed class Cutting(ICommandRunner inner, double part) : ICommandRunner
    {
        private bool _done;

        public Task<CommandResult> RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop)
        {
            if (_done || input.Length == 0) { return inner.RunAsync(program, arguments, input, stop); }
            _done = true;
            int first = program == "nft" ? input.IndexOf('{', StringComparison.Ordinal) + 1 : 0; // the first write of a pipe holds more than this
            return inner.RunAsync(program, arguments, input[..Math.Max(first, (int)(input.Length * part))], stop);
        }
    }
}
