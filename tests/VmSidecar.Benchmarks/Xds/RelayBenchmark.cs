using System.Globalization;
using System.Net.Security;

using VmSidecar.Grpc;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Benchmarks.Xds;

/// <summary>
/// The relay against a direct connection to the same istiod, in one run: rounds alternate, so that a noisy machine is noisy for both.
/// <c>xds [ROUNDS] [SMALL] [RELAY]</c>. The relay is a process of its own; RELAY names another build of this program for it, such as a native one.
/// </summary>
internal static class RelayBenchmark
{
    private const int Clusters = 10_000;
    private const int IdleStreams = 50;

    public static async Task<int> RunAsync(string[] args)
    {
        int rounds = Number(args, 0, 15), small = Number(args, 1, 10_000);
        string folder = Directory.CreateTempSubdirectory("vmsidecar-bench-").FullName;
        try
        {
            await using var stand = new PushStand();
            await stand.StartAsync();
            await using RelayProcess relay = await RelayProcess.StartAsync(folder, stand, args.Length > 2 ? args[2] : null);
            Func<SslClientAuthenticationOptions> tls = () => BenchTls.Client(stand.Root);
            var direct = GrpcChannelOptions.For(stand.Target, tls, BenchTls.Name);
            var relayed = GrpcChannelOptions.For("unix:" + relay.Socket);
            await LargeAsync("Istio's Envoy, nothing mended", direct, relayed, stand, relay, istios: true, rounds);
            await LargeAsync("stock Envoy, every cluster mended", direct, relayed, stand, relay, istios: false, rounds);
            await SmallAsync(direct, relayed, stand, relay, small);
            await SlowAsync(relayed, stand, relay);
            await IdleAsync(relayed, stand, relay);
        }
        finally { Directory.Delete(folder, recursive: true); }
        return 0;
    }

    private static async Task LargeAsync(string what, GrpcChannelOptions direct, GrpcChannelOptions relayed, PushStand stand, RelayProcess relay, bool istios, int rounds)
    {
        byte[] push = PushMessages.Push(Clusters, "n1");
        int mendedLength = istios ? push.Length : PushMessages.Push(Clusters, "n1", filter: false).Length;
        byte[] acknowledge = PushMessages.Acknowledge(XdsTypeUrl.Cluster, "n1"), first = PushMessages.First(istios);
        await using PushPath straight = await PushPath.OpenAsync(direct, stand, first), through = await PushPath.OpenAsync(relayed, stand, first);
        for (int i = 0; i < 3; i++) // warm: code is compiled, windows have grown
        {
            await straight.PushAsync(push, acknowledge, push.Length);
            await through.PushAsync(push, acknowledge, mendedLength);
            await relay.QuietAsync();
        }
        ProcessFigures before = await relay.FiguresAsync("figures");
        List<double> straightTimes = [], throughTimes = [], straightCpu = [], relayCpu = [], endsCpu = [], keepCpu = [], peaks = [];
        for (int i = 0; i < rounds; i++)
        {
            double cpu = ProcessFigures.Now().CpuMs;
            straightTimes.Add(await straight.PushAsync(push, acknowledge, push.Length));
            straightCpu.Add(ProcessFigures.Now().CpuMs - cpu);
            ProcessFigures begin = await relay.FiguresAsync("peak");
            cpu = ProcessFigures.Now().CpuMs;
            throughTimes.Add(await through.PushAsync(push, acknowledge, mendedLength));
            endsCpu.Add(ProcessFigures.Now().CpuMs - cpu);
            ProcessFigures end = await relay.FiguresAsync("figures");
            await relay.QuietAsync(); // what it keeps for an offline start is not to slow the next direct push
            relayCpu.Add(end.CpuMs - begin.CpuMs);
            ProcessFigures kept = await relay.FiguresAsync("figures");
            keepCpu.Add(kept.CpuMs - end.CpuMs);
            peaks.Add(kept.PeakKb / 1e3);
        }
        ProcessFigures after = await relay.FiguresAsync("figures");
        double a = Median(straightTimes), b = Median(throughTimes), megabytes = push.Length / 1e6;
        Line($"push of {megabytes:0.0} MB, {Clusters} clusters, {what}: median of {rounds}");
        Line($"  direct {a:0} ms (best {straightTimes.Min():0}), through the relay {b:0} ms (best {throughTimes.Min():0}): added {100 * (b - a) / a:0} % (best to best {100 * (throughTimes.Min() - straightTimes.Min()) / straightTimes.Min():0} %)");
        Line($"  CPU: both ends direct {Median(straightCpu):0} ms, with the relay between {Median(endsCpu):0} ms; the relay {relayCpu.Average():0} ms on average, and {keepCpu.Average():0} ms later to keep it for an offline start");
        Line($"  relay's memory: {before.ResidentKb / 1e3:0} MB before, peak {peaks.Max():0} MB = {peaks.Max() / megabytes:0.00} x the message (median of the rounds {Median(peaks) / megabytes:0.00} x), now {after.ResidentKb / 1e3:0} MB");
    }

    private static async Task SmallAsync(GrpcChannelOptions direct, GrpcChannelOptions relayed, PushStand stand, RelayProcess relay, int count)
    {
        byte[] push = PushMessages.Small("n1"), acknowledge = PushMessages.Acknowledge(XdsTypeUrl.Endpoints, "n1"), first = PushMessages.First(istiosEnvoy: true);
        await using PushPath straight = await PushPath.OpenAsync(direct, stand, first), through = await PushPath.OpenAsync(relayed, stand, first);
        List<double> straightTimes = [], throughTimes = [];
        double before = 0;
        for (int i = -1000; i < count; i++)
        {
            if (i == 0) { before = (await relay.FiguresAsync("figures")).CpuMs; }
            double a = await straight.PushAsync(push, acknowledge, push.Length), b = await through.PushAsync(push, acknowledge, push.Length);
            if (i < 0) { continue; }
            straightTimes.Add(a);
            throughTimes.Add(b);
        }
        double cpu = (await relay.FiguresAsync("figures")).CpuMs - before;
        Line($"{count} pushes of {push.Length} bytes, one at a time");
        foreach (double p in (double[])[0.5, 0.9, 0.99])
        {
            double a = At(straightTimes, p), b = At(throughTimes, p);
            Line($"  p{100 * p:0}: direct {1000 * a:0} us, through the relay {1000 * b:0} us, added {1000 * (b - a):0} us");
        }
        Line($"  the relay's CPU: {1000 * cpu / count:0} us a push and its acknowledgement");
    }

    /// <summary>An Envoy that does not read, as one whose main thread is stuck: what the relay holds meanwhile.</summary>
    private static async Task SlowAsync(GrpcChannelOptions relayed, PushStand stand, RelayProcess relay)
    {
        byte[] push = PushMessages.Push(Clusters, "n1"), acknowledge = PushMessages.Acknowledge(XdsTypeUrl.Cluster, "n1");
        await using PushPath path = await PushPath.OpenAsync(relayed, stand, PushMessages.First(istiosEnvoy: true));
        ProcessFigures before = await relay.FiguresAsync("collect");
        await relay.FiguresAsync("peak");
        Task sending = path.SendAsync(push, times: 4);
        await relay.QuietAsync();
        ProcessFigures stuck = await relay.FiguresAsync("figures");
        Line($"an Envoy that does not read while istiod sends 4 x {push.Length / 1e6:0.0} MB: the relay holds {(stuck.PeakKb - before.ResidentKb) / 1e3:0} MB, istiod {(sending.IsCompleted ? "has sent all" : "waits")}");
        for (int i = 0; i < 4; i++) { await path.ReadAsync(acknowledge, push.Length); }
        await sending;
    }

    private static async Task IdleAsync(GrpcChannelOptions relayed, PushStand stand, RelayProcess relay)
    {
        byte[] first = PushMessages.First(istiosEnvoy: true);
        ProcessFigures none = await relay.FiguresAsync("collect");
        await using (await PushPath.OpenAsync(relayed, stand, first))
        {
            ProcessFigures one = await relay.FiguresAsync("collect");
            Line($"idle: {none.ResidentKb} KB without a stream, {one.ResidentKb} KB with Envoy's, {one.HeapKb - none.HeapKb} KB of it on the managed heap");
        }
        for (int i = 0; i < IdleStreams; i++) { await using PushPath gone = await PushPath.OpenAsync(relayed, stand, first); }
        ProcessFigures later = await relay.FiguresAsync("collect");
        Line($"  after {IdleStreams} streams that came and went: {later.HeapKb - none.HeapKb} KB more on the managed heap than before them");
    }

    private static int Number(string[] args, int index, int otherwise) => args.Length > index ? int.Parse(args[index], CultureInfo.InvariantCulture) : otherwise;

    private static double Median(List<double> values) => At(values, 0.5);

    private static double At(List<double> values, double quantile)
    {
        double[] sorted = [.. values.Order()];
        return sorted[Math.Min((int)(quantile * sorted.Length), sorted.Length - 1)];
    }

    private static void Line(FormattableString text) => Console.WriteLine(text.ToString(CultureInfo.InvariantCulture));
}
