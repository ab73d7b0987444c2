using System.Globalization;

using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Configuration;
using VmSidecar.Grpc;
using VmSidecar.Identity;
using VmSidecar.Lifecycle;
using VmSidecar.Metrics;
using VmSidecar.Sds;
using VmSidecar.TestKit.Pki;

namespace VmSidecar.Benchmarks.Sds;

/// <summary>The measured side of <see cref="SdsStreams"/>: one server in a process of its own. Each line on standard input is answered with its memory; the end of input ends it.</summary>
internal static class SdsServe
{
    /// <summary>Arguments: socket, <c>sds</c> or <c>bare</c> (the same Kestrel server, a handler that answers once with as many bytes and waits).</summary>
    public static async Task<int> RunAsync(string[] args)
    {
        Issued issued = new FakeCa(TimeProvider.System).Issue("spiffe://cluster.local/ns/vm-ns/sa/vm-sa", TimeSpan.FromHours(24));
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        var secrets = new Published<WorkloadSecrets>();
        secrets.Set(new WorkloadSecrets(issued.ChainPem, issued.KeyPem, issued.Elements[^1], now, now.AddHours(24), now, "1"));
        byte[] answer = new byte[issued.ChainPem.Length + issued.KeyPem.Length + 200];
        IComponent server = args[1] == "sds"
            ? new SdsServer(new SdsOptions([args[0]], null, new HostPaths("/")), secrets, new Published<IdentityStatus>(), new Instruments(TimeProvider.System, NullLoggerFactory.Instance, new MetricRegistry()))
            : new GrpcServer(GrpcServerOptions.OnSocket("bare", args[0]), new Dictionary<string, GrpcHandler> { [SdsStreams.Method] = (call, aborted) => AnswerAsync(call, answer, aborted) }, NullLogger.Instance);
        await server.StartAsync(CancellationToken.None);
        Console.WriteLine("ready");
        while (Console.ReadLine() is not null)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            long managed = GC.GetTotalMemory(forceFullCollection: true);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{managed} {PrivateBytes()}"));
        }
        using var hard = new CancellationTokenSource(TimeSpan.FromSeconds(1));
        await server.StopAsync(hard.Token);
        return 0;
    }

    private static async Task<GrpcStatus> AnswerAsync(IGrpcServerCall call, byte[] answer, CancellationToken aborted)
    {
        using (await call.ReadAsync(aborted)) { }
        await call.SendAsync(answer, aborted);
        using (await call.ReadAsync(aborted)) { }
        return GrpcStatus.Ok;
    }

    /// <summary>Resident memory that is this process's alone.</summary>
    private static long PrivateBytes() => File.ReadLines("/proc/self/smaps_rollup")
        .Where(l => l.StartsWith("Private_", StringComparison.Ordinal))
        .Sum(l => long.Parse(l.Split(':')[1].Replace("kB", "", StringComparison.Ordinal), CultureInfo.InvariantCulture) * 1024);
}
