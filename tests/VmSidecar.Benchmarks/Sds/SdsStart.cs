using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;

using Google.Protobuf;

using VmSidecar.Configuration;
using VmSidecar.Grpc;
using VmSidecar.Proto.Discovery;
using VmSidecar.Sds;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Onboarding;

namespace VmSidecar.Benchmarks.Sds;

/// <summary>
/// From exec of the agent to the first certificate pushed over SDS, with an istiod double beside it: time, and CPU of the agent till then. Its
/// peer is one RSA key of 2048 bits made by OpenSSL in the same run: what any agent has to make before it can ask for a certificate.
/// </summary>
internal static class SdsStart
{
    private const int Rounds = 11;

    /// <summary>Arguments: the agent's executable; none: the managed build beside this program.</summary>
    public static async Task<int> RunAsync(string[] args)
    {
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync();
        List<double> time = [], cpu = [], keyTime = [], keyCpu = [];
        for (int round = 0; round <= Rounds; round++) // the first warms the disk cache and does not count
        {
            (double took, double used) = await AgentAsync(istiod, args is [var binary, ..] ? binary : null);
            (double key, double keyUsed) = Key();
            if (round == 0) { continue; }
            time.Add(took);
            cpu.Add(used);
            keyTime.Add(key);
            keyCpu.Add(keyUsed);
        }
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"start to first SDS push ({args.FirstOrDefault() ?? "managed build"}, {Rounds} rounds): {Medians.Of(time):F0} ms, CPU {Medians.Of(cpu):F0} ms (median)"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"one RSA key of 2048 bits, OpenSSL: {Medians.Of(keyTime):F0} ms, CPU {Medians.Of(keyCpu):F0} ms (median)"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"ratio: {Medians.Of(time) / Medians.Of(keyTime):F1} in time, {Medians.Of(cpu) / Medians.Of(keyCpu):F1} in CPU"));
        return 0;
    }

    private static async Task<(double Time, double Cpu)> AgentAsync(FakeIstiod istiod, string? binary)
    {
        string root = Directory.CreateTempSubdirectory("vsc-bench-").FullName;
        var paths = new HostPaths(root);
        new OnboardingFiles
        {
            Group = "nginx", Namespace = ScenarioMesh.Namespace, ServiceAccount = ScenarioMesh.VmAccount, DiscoveryAddress = istiod.Target,
            Token = istiod.Tokens.Make(ScenarioMesh.Namespace, ScenarioMesh.VmAccount), RootPem = istiod.RootsPem,
        }.Install(paths);
        await File.WriteAllTextAsync(paths.ResolvConf, "nameserver 127.0.0.1\n");
        ProcessStartInfo start = binary is null
            ? new ProcessStartInfo(Environment.ProcessPath!, ["exec", Path.Combine(AppContext.BaseDirectory, "vmsidecar.dll"), "run", "--root", root])
            : new ProcessStartInfo(binary, ["run", "--root", root]);
        (start.RedirectStandardOutput, start.RedirectStandardError) = (true, true);
        foreach ((string name, string value) in new[]
        {
            ("DISABLE_ENVOY", "true"), ("INSTANCE_IP", "10.99.0.2"), ("ISTIOD_SAN", "istiod.istio-system.svc"),
            ("DNS_PROXY_ADDR", $"localhost:{FreePort()}"), ("PROXY_CONFIG", $"{{\"statusPort\":{FreePort()}}}"),
        })
        {
            start.Environment[name] = value;
        }
        long begin = Stopwatch.GetTimestamp();
        using Process agent = Process.Start(start)!;
        _ = agent.StandardOutput.ReadToEndAsync(); // drained, or the agent would stop on a full pipe
        Task<string> errors = agent.StandardError.ReadToEndAsync();
        try
        {
            await PushedAsync(paths.WorkloadSdsSocket, agent);
            double took = Stopwatch.GetElapsedTime(begin).TotalMilliseconds;
            agent.Refresh();
            return (took, agent.TotalProcessorTime.TotalMilliseconds);
        }
        finally
        {
            if (!agent.HasExited) { agent.Kill(); }
            await agent.WaitForExitAsync();
            if ((await errors).Length > 0) { await Console.Error.WriteLineAsync(await errors); }
            Directory.Delete(root, recursive: true);
        }
    }

    private static async Task PushedAsync(string socket, Process agent)
    {
        var request = new DiscoveryRequest { Node = new Node { Id = "sidecar~10.99.0.2~vm1.vm-ns~vm-ns.svc.cluster.local" }, TypeUrl = SecretMessages.TypeUrl, ResourceNames = { SecretCatalog.Certificate } };
        while (true)
        {
            if (agent.HasExited) { throw new InvalidOperationException($"the agent ended with {agent.ExitCode}"); }
            await using var channel = new GrpcChannel(GrpcChannelOptions.For("unix:" + socket));
            try
            {
                await using IGrpcClientCall call = await channel.OpenAsync("/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets", [], CancellationToken.None);
                await call.SendAsync(request.ToByteArray(), CancellationToken.None);
                using GrpcMessage? answer = await call.ReadAsync(CancellationToken.None);
                if (answer is not null) { return; }
            }
            catch (GrpcException) { } // not up yet
            await Task.Delay(TimeSpan.FromMilliseconds(1), TimeProvider.System);
        }
    }

    private static (double Time, double Cpu) Key()
    {
        TimeSpan before = Environment.CpuUsage.TotalTime;
        long begin = Stopwatch.GetTimestamp();
        using RSA key = RSA.Create(2048);
        _ = key.ExportRSAPrivateKey();
        return (Stopwatch.GetElapsedTime(begin).TotalMilliseconds, (Environment.CpuUsage.TotalTime - before).TotalMilliseconds);
    }

    private static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }
}
