using System.Diagnostics;
using System.Globalization;
using VmSidecar.Dns;
using VmSidecar.Linux.Memory;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Benchmarks.Dns;

/// <summary>Building a table and asking it: time, memory, and nanoseconds per answer.</summary>
internal static class DnsTable
{
    private const int Asks = 1_000_000;

    public static int Run(string[] args)
    {
        int hosts = int.Parse(args[0], CultureInfo.InvariantCulture);
        byte[] nds = NdsBytes.Make(hosts);
        var scope = new NameScope("n1", "n1.svc.cluster.local", compat110: false);
        for (int round = 0; round < 5; round++)
        {
            long before = Memory();
            long begin = Stopwatch.GetTimestamp();
            NameTable table = NameTableBuilder.FromNds(nds, scope, out _)!;
            double built = Stopwatch.GetElapsedTime(begin).TotalMilliseconds;
            double memory = (Memory() - before) / 1048576.0;
            Console.WriteLine($"{table.Hosts.Count} hosts: built in {built:F0} ms, {memory:F1} MiB");
            Ask(table, scope, "h11.example.com");
            Ask(table, scope, "s11.n11");
            Ask(table, scope, "www.example.net");
            table.Leave();
        }
        return 0;
    }

    /// <summary>Bytes, of the managed heap and mapped (touched or not).</summary>
    private static long Memory() => GC.GetTotalMemory(forceFullCollection: true) + MappedMemory.InUse;

    private static void Ask(NameTable table, NameScope scope, string name)
    {
        byte[] query = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, .. WireName.Encode(name)!, 0, 1, 0, 1], reply = new byte[4096];
        var snapshot = new DnsSnapshot(table, NameTable.Empty(scope), VipsOnlyWhereUnknown: true, [], new ServicePorts());
        var answerer = new Answerer(compat110: false);
        long begin = Stopwatch.GetTimestamp();
        AnswerResult result = default;
        for (int i = 0; i < Asks; i++) { result = answerer.Answer(query, snapshot, tcp: false, (uint)i, reply, out _); }
        Console.WriteLine($"  {name}: {result.Action} in {Stopwatch.GetElapsedTime(begin).TotalNanoseconds / Asks:F0} ns");
    }
}
