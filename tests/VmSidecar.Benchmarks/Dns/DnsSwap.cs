using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging.Abstractions;
using VmSidecar.Dns;
using VmSidecar.Metrics;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Benchmarks.Dns;

/// <summary>
/// Answers without pause on one thread while another takes tables as the relay gives them (copy, build, swap, hand to the disk), and prints the longest time between
/// two answers, with swaps and without in turns. Of each gap the kernel says how long the thread had no processor: that is the host's doing. What is left is ours, and
/// the collector's pauses, which stop every thread, are printed beside it.
/// </summary>
internal static class DnsSwap
{
    private const int Swaps = 10;
    private const long Noticed = 50_000; // nanoseconds: gaps beyond it are looked into

    private readonly record struct Gaps(double Longest, double LongestOwn, long Answers);

    public static async Task<int> RunAsync(string[] args)
    {
        int hosts = int.Parse(args[0], CultureInfo.InvariantCulture);
        byte[][] tables = [NdsBytes.Make(hosts), NdsBytes.Make(hosts + 10)]; // in turns: the same table again is not taken
        string folder = Directory.CreateTempSubdirectory("vmsidecar-bench-").FullName;
        using var end = new CancellationTokenSource();
        var state = new DnsState(new NameScope("n1", "n1.svc.cluster.local", compat110: false));
        var sink = new NameTableSink(state, new DnsMetrics(new MetricRegistry()), new LastTable(folder, TimeProvider.System, NullLogger.Instance), TimeProvider.System, NullLogger.Instance);
        Task saving = sink.SaveLoopAsync(end.Token);
        sink.Accept(tables[0]);
        for (int round = 0; round < 5; round++)
        {
            foreach (bool swapping in (ReadOnlySpan<bool>)[false, true]) { Measure(tables, sink, state, swapping); }
        }
        await end.CancelAsync();
        await saving;
        Directory.Delete(folder, recursive: true);
        return 0;
    }

    private static void Measure(byte[][] tables, NameTableSink sink, DnsState state, bool swapping)
    {
        TimeSpan paused = GC.GetTotalPauseDuration();
        int collections = GC.CollectionCount(0);
        using var stop = new CancellationTokenSource();
        Task<Gaps> asking = Task.Factory.StartNew(() => Ask(state, stop.Token), TaskCreationOptions.LongRunning);
        double taken = Take(tables, swapping ? sink : null);
        stop.Cancel();
        Gaps gaps = asking.GetAwaiter().GetResult();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{(swapping ? "swapping" : "alone   ")}: longest gap {gaps.Longest:F0} us, longest without the scheduler's share {gaps.LongestOwn:F0} us, in {gaps.Answers} answers; collector {(GC.GetTotalPauseDuration() - paused).TotalMicroseconds:F0} us in {GC.CollectionCount(0) - collections} pauses{(swapping ? $"; taken in {taken:F0} ms (median of {Swaps})" : "")}"));
    }

    /// <summary>Has tables taken, or lets the same time pass; the median time of one in milliseconds.</summary>
    private static double Take(byte[][] tables, NameTableSink? sink)
    {
        double[] took = new double[Swaps];
        for (int i = 0; i < Swaps; i++)
        {
            long begin = Stopwatch.GetTimestamp();
            if (sink is not null) { sink.Accept(tables[(i + 1) % 2]); }
            else { using var pause = new ManualResetEventSlim(); pause.Wait(100); }
            took[i] = Stopwatch.GetElapsedTime(begin).TotalMilliseconds;
        }
        Array.Sort(took);
        return took[Swaps / 2];
    }

    private static Gaps Ask(DnsState state, CancellationToken stop)
    {
        byte[] query = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, .. WireName.Encode("h11.example.com")!, 0, 1, 0, 1], reply = new byte[4096];
        var answerer = new Answerer(compat110: false);
        using var delay = new RunDelay();
        long answers = 0, longest = 0, longestOwn = 0, delayed = delay.Read(), last = Stopwatch.GetTimestamp();
        while (!stop.IsCancellationRequested)
        {
            using (SnapshotUse use = state.Use()) { answerer.Answer(query, use.Snapshot, tcp: false, (uint)answers, reply, out _); }
            answers++;
            long now = Stopwatch.GetTimestamp(), gap = now - last; // ticks are nanoseconds here
            if (gap > Noticed)
            {
                long before = delayed;
                delayed = delay.Read();
                longest = Math.Max(longest, gap);
                longestOwn = Math.Max(longestOwn, gap - (delayed - before));
                now = Stopwatch.GetTimestamp(); // the reading is no gap
            }
            last = now;
        }
        return new(longest / 1e3, longestOwn / 1e3, answers);
    }
}
