using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging.Abstractions;
using VmSidecar.Configuration;
using VmSidecar.Dns;
using VmSidecar.Metrics;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Benchmarks.Dns;

/// <summary>
/// Asks the server over loopback one query after another, a fifth of a millisecond apart, while it takes tables as from the relay (copy, build, swap, hand to the
/// disk) – and in turns while nothing happens, and while another thread only computes for as long: what that costs is the machine's doing, and no swap's.
/// </summary>
internal static partial class DnsSwap
{
    private const int Rounds = 5, Swaps = 10;
    private static readonly TimeSpan Pace = TimeSpan.FromMicroseconds(200), Slow = TimeSpan.FromMilliseconds(1);
    private static readonly string[] Modes = ["nothing happens", "a thread computes", "tables are swapped"];

    public static async Task<int> RunAsync(string[] args)
    {
        int hosts = int.Parse(args[0], CultureInfo.InvariantCulture);
        byte[][] tables = [NdsBytes.Make(hosts), NdsBytes.Make(hosts + 10)]; // in turns: the same table again is not taken
        string folder = Directory.CreateTempSubdirectory("vmsidecar-bench-").FullName;
        var options = new DnsOptions
        {
            Enabled = true, Listen = [new(IPAddress.Loopback, 0)], ResolvConf = "/dev/null", StateDirectory = folder, Namespace = "payments", Domain = "payments.svc.cluster.local",
        };
        var server = new DnsServer(options, new MetricRegistry(), TimeProvider.System, NullLogger.Instance);
        await server.StartAsync(CancellationToken.None);
        server.Names.Accept(tables[0]);
        List<double>[] latencies = [[], [], []];
        List<double> taken = [];
        TimeSpan paused = GC.GetTotalPauseDuration();
        for (int round = 0; round < Rounds; round++)
        {
            for (int mode = 0; mode < Modes.Length; mode++) { Measure(server, tables, mode, latencies[mode], taken); }
        }
        for (int mode = 0; mode < Modes.Length; mode++) { Print(Modes[mode], latencies[mode]); }
        taken.Sort();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {taken.Count} tables, each taken in {taken[taken.Count / 2]:F0} ms (median); collector's pauses {(GC.GetTotalPauseDuration() - paused).TotalMicroseconds:F0} us in all"));
        await server.StopAsync(CancellationToken.None);
        Directory.Delete(folder, recursive: true);
        return 0;
    }

    private static void Measure(DnsServer server, byte[][] tables, int mode, List<double> latencies, List<double> taken)
    {
        using var stop = new CancellationTokenSource();
        Task asking = Task.Factory.StartNew(() => Ask(server.Bound[0], latencies, stop.Token), TaskCreationOptions.LongRunning);
        for (int i = 0; i < Swaps; i++)
        {
            long begin = Stopwatch.GetTimestamp();
            if (mode == 2)
            {
                server.Names.Accept(tables[(i + 1) % 2]);
                taken.Add(Stopwatch.GetElapsedTime(begin).TotalMilliseconds);
            }
            else if (mode == 1) { while (Stopwatch.GetElapsedTime(begin).TotalMilliseconds < 100) { } }
            else { asking.Wait(100); }
        }
        stop.Cancel();
        asking.GetAwaiter().GetResult();
    }

    private static void Ask(EndPoint server, List<double> latencies, CancellationToken stop)
    {
        byte[] query = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, .. WireName.Encode("h11.example.com")!, 0, 1, 0, 1], reply = new byte[4096];
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp) { ReceiveTimeout = 5000 };
        socket.Connect(server);
        while (!stop.IsCancellationRequested)
        {
            _ = Pause((uint)Pace.TotalMicroseconds);
            long begin = Stopwatch.GetTimestamp();
            socket.Send(query);
            if (socket.Receive(reply) < query.Length) { throw new InvalidOperationException("no answer"); }
            latencies.Add(Stopwatch.GetElapsedTime(begin).TotalMicroseconds);
        }
    }

    private static void Print(string what, List<double> latencies)
    {
        latencies.Sort();
        int late = latencies.Count(l => l > Slow.TotalMicroseconds);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"  while {what,-18}: p50 {At(0.5):F0} us  p99 {At(0.99):F0} us  p99.9 {At(0.999):F0} us  longest {latencies[^1]:F0} us  slower than 1 ms: {late} of {latencies.Count}"));
        double At(double part) => latencies[(int)(part * latencies.Count)];
    }

    /// <summary>Microseconds; the waits of .NET know milliseconds only.</summary>
    [LibraryImport("libc", EntryPoint = "usleep")]
    private static partial int Pause(uint microseconds);
}
