using System.Diagnostics;
using System.Globalization;
using System.Net;
using VmSidecar.Configuration;
using VmSidecar.Iptables;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit.Namespaces;

namespace VmSidecar.Benchmarks.Iptables;

/// <summary>
/// Wall time, CPU time (ours and the tools') and processes of apply, diff, apply again and clean beside rules of others, in a network namespace, against the
/// same rules put on one by one with <c>iptables -A</c>. Medians of one run; the last column is the ratio to that peer. Needs root.
/// </summary>
internal static class CaptureBench
{
    private const int Rounds = 7;
    private static readonly int[] s_foreign = [0, 100, 5000];
    private static readonly string[] s_backends = ["iptables-nft", "iptables-legacy", "nftables"];

    private static readonly CaptureOptions s_options = new()
    {
        ProxyUids = [113],
        ProxyGids = [113],
        AllInboundPorts = true,
        InboundExcludedPorts = ["15090", "15021", "15020"],
        AllOutboundCidrs = true,
        RedirectDns = true,
        DnsServers = [IPAddress.Parse("127.0.0.53")],
    };

    /// <summary>Prints the table; 0, or 2 where namespaces cannot be made.</summary>
    public static async Task<int> RunAsync()
    {
        if (!NetworkNamespace.IsPossible) { await Console.Error.WriteLineAsync("iptables: needs root and the ip tool"); return 2; }
        Console.WriteLine($"{"back end",-16}{"foreign",8}  {"act",-12}{"ms",8}{"CPU ms",9}{"processes",11}{"x of iptables -A",18}");
        foreach (string backend in s_backends)
        {
            foreach (int foreign in s_foreign) { await MeasureAsync(backend, foreign); }
        }
        return 0;
    }

    private static async Task MeasureAsync(string backend, int foreign)
    {
        await using NetworkNamespace host = await NetworkNamespace.CreateAsync("vsc-bench-cap");
        string state = Directory.CreateTempSubdirectory("vsc-bench").FullName, variant = backend == "nftables" ? "iptables-nft" : backend;
        string rules = string.Concat(Enumerable.Range(0, foreign).Select(i => $"-A FOREIGN -d 198.51.{i / 250}.{(i % 250) + 1}/32 -p tcp -m tcp --dport {1000 + i} -j DNAT --to-destination 10.0.0.1:80\n"));
        if (foreign > 0) { await host.RunAsync($"{variant}-restore --noflush", $"*nat\n:FOREIGN - [0:0]\n{rules}COMMIT\n"); }
        CaptureOptions options = s_options with { Backend = backend switch { "nftables" => CaptureBackendKind.Nftables, "iptables-legacy" => CaptureBackendKind.IptablesLegacy, _ => CaptureBackendKind.IptablesNft } };
        var counting = new Counting(host.Commands);
        IptablesRunner runner = new(counting, state, TimeProvider.System) { Kernel = new(counting) { HasLegacyTables = _ => backend == "iptables-legacy" } };
        (double plain, double plainCpu, int commands) = await PlainAsync(counting, host, variant, options);
        Print(backend, foreign, "iptables -A", plain, plainCpu, commands, 1);
        foreach ((string act, Func<Task> before, Func<Task> run) in new (string, Func<Task>, Func<Task>)[]
        {
            ("apply", () => runner.CleanAsync(CancellationToken.None), () => runner.ApplyAsync(options, CancellationToken.None)),
            ("diff", () => Task.CompletedTask, () => runner.DiffAsync(options, CancellationToken.None)),
            ("apply again", () => Task.CompletedTask, () => runner.ApplyAsync(options, CancellationToken.None)),
            ("clean", () => runner.ApplyAsync(options, CancellationToken.None), () => runner.CleanAsync(CancellationToken.None)),
        })
        {
            (double wall, double cpu, int processes) = await MedianAsync(counting, before, run);
            Print(backend, foreign, act, wall, cpu, processes, wall / plain);
        }
        Directory.Delete(state, recursive: true);
    }

    /// <summary>One command a chain and a rule, in a namespace emptied of them between the rounds.</summary>
    private static Task<(double Wall, double Cpu, int Processes)> PlainAsync(Counting counting, NetworkNamespace host, string variant, CaptureOptions options)
    {
        var program = IptablesProgram.For(options, IpFamily.V4);
        string[] commands =
        [
            .. from table in program.Tables from chain in program.ChainsOf(table) select $"-t {table} -N {chain}",
            .. program.Rules.Select(r => $"-t {r.Table} -A {r.Chain} {RuleText.Spec(r, IpFamily.V4)}"),
        ];
        string[] chains = [.. program.ChainsOf("nat")], cleared = ["PREROUTING", "OUTPUT", .. chains];
        return MedianAsync(counting,
            async () =>
            {
                await host.RunAsync($"{variant} -w 5 -t raw -F");
                await host.RunAsync($"{variant} -w 5 -t raw -X");
                foreach (string chain in cleared) { await counting.Inner.RunAsync(variant, ["-w", "5", "-t", "nat", "-F", chain], "", CancellationToken.None); }
                foreach (string chain in chains) { await counting.Inner.RunAsync(variant, ["-w", "5", "-t", "nat", "-X", chain], "", CancellationToken.None); }
            },
            async () =>
            {
                foreach (string command in commands)
                {
                    CommandResult done = await counting.RunAsync(variant, ["-w", "5", .. new InstalledRule("", command).Words], "", CancellationToken.None);
                    if (!done.Succeeded) { throw new InvalidOperationException($"{command}: {done.Error}"); }
                }
            });
    }

    private static async Task<(double Wall, double Cpu, int Processes)> MedianAsync(Counting counting, Func<Task> before, Func<Task> run)
    {
        var walls = new List<double>();
        double cpu = 0;
        for (int i = 0; i <= Rounds; i++) // the first warms up
        {
            await before();
            counting.Count = 0;
            double cpuBegin = CpuMilliseconds();
            long begin = Stopwatch.GetTimestamp();
            await run();
            if (i == 0) { continue; }
            walls.Add(Stopwatch.GetElapsedTime(begin).TotalMilliseconds);
            cpu += CpuMilliseconds() - cpuBegin;
        }
        return (walls.Order().ElementAt(Rounds / 2), cpu / Rounds, counting.Count);
    }

    /// <summary>User and system time of this process and of children that have ended: fields 14 to 17 of /proc/self/stat, in hundredths of a second.</summary>
    private static double CpuMilliseconds()
    {
        string stat = File.ReadAllText("/proc/self/stat");
        return stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[11..15].Sum(f => double.Parse(f, CultureInfo.InvariantCulture)) * 10;
    }

    private static void Print(string backend, int foreign, string act, double wall, double cpu, int processes, double ratio) =>
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{backend,-16}{foreign,8}  {act,-12}{wall,8:0.0}{cpu,9:0.0}{processes,11}{ratio,18:0.00}"));

    private sealed class Counting(ICommandRunner inner) : ICommandRunner
    {
        private int _count;

        public ICommandRunner Inner => inner;

        public int Count { get => _count; set => _count = value; }

        public Task<CommandResult> RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop)
        {
            Interlocked.Increment(ref _count);
            return inner.RunAsync(program, arguments, input, stop);
        }
    }
}
