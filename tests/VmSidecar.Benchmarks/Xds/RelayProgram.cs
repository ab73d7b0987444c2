using System.Diagnostics;
using System.Globalization;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json.Nodes;

using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Configuration;
using VmSidecar.Dns;
using VmSidecar.Grpc;
using VmSidecar.Health;
using VmSidecar.Identity;
using VmSidecar.Lifecycle;
using VmSidecar.Metrics;
using VmSidecar.Xds;

namespace VmSidecar.Benchmarks.Xds;

/// <summary>
/// The relay alone in its own process, so that its CPU and memory are its own: <c>xds-relay SOCKET ISTIOD ROOTS_PEM STATE</c>. Lines on
/// standard input: <c>peak</c> starts a new memory peak, <c>collect</c> collects garbage, <c>figures</c> does neither; each prints
/// <c>CPU_MS RSS_KB PEAK_KB HEAP_KB</c>. Ends with the input.
/// </summary>
internal static class RelayProgram
{
    public static async Task<int> RunAsync(string[] args)
    {
        string socket = args[0], istiod = args[1], roots = args[2], state = args[3];
        var node = new NodeOptions("sidecar~10.0.0.1~vm.ns~ns.svc.cluster.local", "vm", "", "", "", new JsonObject { ["NAMESPACE"] = "ns" }, ["10.0.0.1"]);
        var options = new XdsOptions { Socket = socket, DiscoveryAddress = istiod, StateDirectory = state, Node = node, SubscribeNames = false, Delta = true };
        var links = new XdsLinks(new Access(istiod, roots), new Published<HealthState>(), null, null) { Clusters = new ClusterHosts(new NoHosts(), new ServicePorts()) };
        var proxy = new XdsProxy(options, links, new MetricRegistry(), TimeProvider.System, NullLoggerFactory.Instance);
        await proxy.StartAsync(CancellationToken.None);
        Console.WriteLine("ready");
        while (await Console.In.ReadLineAsync() is { } command)
        {
            if (command == "peak") { await File.WriteAllTextAsync("/proc/self/clear_refs", "5"); }
            if (command == "collect") { GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true); }
            Console.WriteLine(ProcessFigures.Now().ToString());
        }
        await proxy.StopAsync(CancellationToken.None);
        return 0;
    }

    private sealed class NoHosts : IServiceHostSink
    {
        public void Accept(IReadOnlyCollection<string> hosts) { }
    }

    private sealed class Access(string target, string roots) : IIstiodAccess
    {
        public GrpcChannelOptions XdsChannel() => GrpcChannelOptions.For(target, () => BenchTls.Client(X509Certificate2.CreateFromPem(File.ReadAllText(roots))), BenchTls.Name);

        public IReadOnlyList<KeyValuePair<string, string>> XdsMetadata() => [];

        public void NoteAnswered() { }

        public void NoteLostConnection() { }

        public bool Tell(string explanation) => true;

        public string ExplainRefusal(GrpcStatus status) => "";
    }
}

/// <summary>TLS of the stand: one root, one name, no client certificate.</summary>
internal static class BenchTls
{
    public const string Name = "istiod.istio-system.svc";

    public static SslClientAuthenticationOptions Client(X509Certificate2 root)
    {
        var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
        policy.CustomTrustStore.Add(root);
        return new SslClientAuthenticationOptions { TargetHost = Name, CertificateChainPolicy = policy };
    }
}

/// <summary>CPU time and memory of one process at one moment.</summary>
internal readonly record struct ProcessFigures(double CpuMs, long ResidentKb, long PeakKb, long HeapKb)
{
    public static ProcessFigures Now()
    {
        using var self = Process.GetCurrentProcess();
        string[] status = File.ReadAllLines("/proc/self/status");
        return new ProcessFigures(self.TotalProcessorTime.TotalMilliseconds, Kb(status, "VmRSS:"), Kb(status, "VmHWM:"), GC.GetTotalMemory(false) / 1024);
    }

    public static ProcessFigures Parse(string line)
    {
        string[] parts = line.Split(' ');
        return new ProcessFigures(double.Parse(parts[0], CultureInfo.InvariantCulture), long.Parse(parts[1], CultureInfo.InvariantCulture), long.Parse(parts[2], CultureInfo.InvariantCulture), long.Parse(parts[3], CultureInfo.InvariantCulture));
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{CpuMs:0.0} {ResidentKb} {PeakKb} {HeapKb}");

    private static long Kb(string[] status, string field) =>
        long.Parse(status.First(l => l.StartsWith(field, StringComparison.Ordinal))[field.Length..].Replace("kB", "", StringComparison.Ordinal), CultureInfo.InvariantCulture);
}
