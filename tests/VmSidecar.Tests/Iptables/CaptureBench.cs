using System.Diagnostics;
using VmSidecar.Configuration;
using VmSidecar.Iptables;
using VmSidecar.Linux.Processes;
using Xunit;

namespace VmSidecar.Tests.Iptables;

/// <summary>
/// Time and processes of apply, diff and clean beside rules of others, against one <c>iptables -A</c> a rule. Asserts nothing about speed; run with
/// <c>-explicit only -class VmSidecar.Tests.Iptables.CaptureBench -showliveoutput</c>.
/// </summary>
public sealed class CaptureBench(ITestOutputHelper output)
{
    private const int Rounds = 5;

    [Theory(Explicit = true)]
    [InlineData("iptables-nft", 0)]
    [InlineData("iptables-nft", 100)]
    [InlineData("iptables-nft", 5000)]
    [InlineData("iptables-legacy", 0)]
    [InlineData("iptables-legacy", 100)]
    [InlineData("iptables-legacy", 5000)]
    [InlineData("nftables", 0)]
    [InlineData("nftables", 5000)]
    public async Task Measure(string backend, int foreign)
    {
        await using CaptureLab lab = await CaptureLab.CreateAsync();
        string variant = backend == "nftables" ? "iptables-nft" : backend;
        string rules = string.Concat(Enumerable.Range(0, foreign).Select(i => $"-A FOREIGN -d 198.51.{i / 250}.{(i % 250) + 1}/32 -p tcp -m tcp --dport {1000 + i} -j DNAT --to-destination 10.0.0.1:80\n"));
        if (foreign > 0) { await lab.Vm.RunAsync($"{variant}-restore --noflush", $"*nat\n:FOREIGN - [0:0]\n{rules}COMMIT\n"); }
        CaptureOptions options = CaptureLab.Options with
        {
            Backend = backend switch { "nftables" => CaptureBackendKind.Nftables, "iptables-legacy" => CaptureBackendKind.IptablesLegacy, _ => CaptureBackendKind.IptablesNft },
        };
        var counting = new Counting(lab.Vm.Commands);
        foreach ((string act, Func<Task> run) in new (string, Func<Task>)[]
        {
            ("apply", () => lab.Runner(counting).ApplyAsync(options, CancellationToken.None)),
            ("diff ", () => lab.Runner(counting).DiffAsync(options, CancellationToken.None)),
            ("again", () => lab.Runner(counting).ApplyAsync(options, CancellationToken.None)),
            ("clean", () => lab.Runner(counting).CleanAsync(CancellationToken.None)),
        })
        {
            List<double> times = [];
            for (int i = 0; i < Rounds; i++)
            {
                if (act == "apply") { await lab.Runner().CleanAsync(CancellationToken.None); }
                if (act == "clean") { await lab.Runner().ApplyAsync(options, CancellationToken.None); }
                counting.Count = 0;
                long begin = Stopwatch.GetTimestamp();
                await run();
                times.Add(Stopwatch.GetElapsedTime(begin).TotalMilliseconds);
            }
            output.WriteLine($"{backend} {foreign} foreign: {act} {times.Order().ElementAt(Rounds / 2):0} ms, {counting.Count} processes");
        }
        if (backend != "nftables") { await PlainAsync(lab, variant, options, foreign); }
    }

    private async Task PlainAsync(CaptureLab lab, string variant, CaptureOptions options, int foreign)
    {
        var program = IptablesProgram.For(options, IpFamily.V4);
        string[] commands =
        [
            .. from table in program.Tables from chain in program.ChainsOf(table) select $"-t {table} -N {chain}",
            .. program.Rules.Select(r => $"-t {r.Table} -A {r.Chain} {PilotCase.Bare(RuleText.Spec(r, IpFamily.V4))}"),
        ];
        long begin = Stopwatch.GetTimestamp();
        foreach (string command in commands) { await lab.Vm.RunAsync($"{variant} -w 5 {command}"); }
        output.WriteLine($"{variant} {foreign} foreign: one command a rule {Stopwatch.GetElapsedTime(begin).TotalMilliseconds:0} ms, {commands.Length} processes");
    }

    private sealed class Counting(ICommandRunner inner) : ICommandRunner
    {
        public int Count { get; set; }

        public Task<CommandResult> RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop)
        {
            Count++;
            return inner.RunAsync(program, arguments, input, stop);
        }
    }
}
