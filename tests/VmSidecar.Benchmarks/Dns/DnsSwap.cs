using System.Diagnostics;
using System.Globalization;
using VmSidecar.Dns;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Benchmarks.Dns;

/// <summary>
/// Answers without pause on one thread while tables are built and swapped on another, and prints the longest time between two answers, with swaps and without
/// in turns: on a shared host the scheduler alone makes gaps. The collector's own pauses are printed beside it.
/// </summary>
internal static class DnsSwap
{
    private const int Swaps = 10;

    public static int Run(string[] args)
    {
        byte[] nds = NdsBytes.Make(int.Parse(args[0], CultureInfo.InvariantCulture));
        var scope = new NameScope("n1", "n1.svc.cluster.local", compat110: false);
        var state = new DnsState(scope);
        state.UseNames(NameTableBuilder.FromNds(nds, scope, out _)!);
        for (int round = 0; round < 3; round++)
        {
            foreach (bool swapping in (ReadOnlySpan<bool>)[false, true])
            {
                TimeSpan paused = GC.GetTotalPauseDuration();
                int collections = GC.CollectionCount(0);
                using var stop = new CancellationTokenSource();
                Task<(double Longest, long Answers)> asking = Task.Factory.StartNew(() => Ask(state, stop.Token), TaskCreationOptions.LongRunning);
                double built = Build(nds, scope, swapping ? state : new DnsState(scope), swapping);
                stop.Cancel();
                (double longest, long answers) = asking.GetAwaiter().GetResult();
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"{(swapping ? "swapping" : "alone   ")}: longest gap {longest:F0} us in {answers} answers; collector {(GC.GetTotalPauseDuration() - paused).TotalMicroseconds:F0} us in {GC.CollectionCount(0) - collections} pauses{(swapping ? $"; build {built:F0} ms (median of {Swaps})" : "")}"));
            }
        }
        return 0;
    }

    /// <summary>Builds and swaps, or lets the same time pass; the median time of a build in milliseconds.</summary>
    private static double Build(byte[] nds, NameScope scope, DnsState state, bool swapping)
    {
        double[] took = new double[Swaps];
        for (int i = 0; i < Swaps; i++)
        {
            long begin = Stopwatch.GetTimestamp();
            if (swapping) { state.UseNames(NameTableBuilder.FromNds(nds, scope, out _)!); }
            else { using var pause = new ManualResetEventSlim(); pause.Wait(100); }
            took[i] = Stopwatch.GetElapsedTime(begin).TotalMilliseconds;
        }
        Array.Sort(took);
        return took[Swaps / 2];
    }

    private static (double, long) Ask(DnsState state, CancellationToken stop)
    {
        byte[] query = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, .. WireName.Encode("h11.example.com")!, 0, 1, 0, 1], reply = new byte[4096];
        var answerer = new Answerer(compat110: false);
        long answers = 0, longest = 0, last = Stopwatch.GetTimestamp();
        while (!stop.IsCancellationRequested)
        {
            answerer.Answer(query, state.Current, tcp: false, (uint)answers, reply, out _);
            answers++;
            long now = Stopwatch.GetTimestamp();
            longest = Math.Max(longest, now - last);
            last = now;
        }
        return (longest * 1e6 / Stopwatch.Frequency, answers);
    }
}
