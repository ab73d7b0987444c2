using System.Globalization;
using System.Net;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging.Abstractions;
using VmSidecar.Configuration;
using VmSidecar.Dns;
using VmSidecar.Metrics;

namespace VmSidecar.Benchmarks.Dns;

/// <summary>The DNS server alone, with a made-up table, for dnsperf and dig: <c>h0.example.com</c> and so on, and one wildcard. Ends with SIGTERM.</summary>
internal static class DnsServe
{
    public static async Task<int> RunAsync(string[] args)
    {
        int port = int.Parse(args[0], CultureInfo.InvariantCulture), hosts = int.Parse(args[2], CultureInfo.InvariantCulture);
        string state = Directory.CreateTempSubdirectory("vmsidecar-bench-").FullName;
        var options = new DnsOptions
        {
            Enabled = true, Listen = [new(IPAddress.Loopback, port)], ResolvConf = args[1], StateDirectory = state,
            Namespace = "payments", Domain = "payments.svc.cluster.local",
            Io = args.Length > 3 && args[3] == "portable" ? DnsIo.Portable : DnsIo.Auto,
        };
        var metrics = new MetricRegistry();
        var server = new DnsServer(options, metrics, TimeProvider.System, NullLogger.Instance);
        await server.StartAsync(CancellationToken.None);
        if (server.Names.Accept(NdsBytes.Make(hosts)) is { } problem) { throw new InvalidOperationException(problem); }
        var ended = new TaskCompletionSource();
        using PosixSignalRegistration term = PosixSignalRegistration.Create(PosixSignal.SIGTERM, c => { c.Cancel = true; ended.TrySetResult(); });
        using PosixSignalRegistration hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, c => { c.Cancel = true; Print(metrics); });
        Console.WriteLine($"serving {hosts} hosts on {server.Bound[0]}");
        await ended.Task;
        Print(metrics);
        await server.StopAsync(CancellationToken.None);
        Directory.Delete(state, recursive: true);
        return 0;
    }

    private static void Print(MetricRegistry metrics)
    {
        var page = new System.Text.StringBuilder();
        metrics.WriteTo(page);
        foreach (string line in page.ToString().Split('\n'))
        {
            if (line.Contains("dns_", StringComparison.Ordinal) && !line.StartsWith('#') && !line.EndsWith(" 0", StringComparison.Ordinal)) { Console.WriteLine(line); }
        }
    }
}
