using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;

using VmSidecar.Linux.Processes;
using VmSidecar.MiniEnvoy.Traffic;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Namespaces;

namespace VmSidecar.Tests.MiniEnvoy;

/// <summary>A mini-envoy process in a namespace of its own, with capture rules, an application on 8080 and a control plane. Disposes everything.</summary>
internal sealed class MiniEnvoyRig : IAsyncDisposable
{
    public const string Address = "10.99.0.2";

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("vsc-mini");
    private readonly Socket _application;
    private readonly Task _serving;

    private MiniEnvoyRig(NetworkNamespace network, MeshModel mesh, IstiodVersion version)
    {
        Network = network;
        Control = new MiniControlPlane(_folder.FullName, mesh, version);
        _application = network.As(0, 0, () =>
        {
            var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            socket.Bind(new IPEndPoint(IPAddress.Any, 8080));
            socket.Listen(100);
            return socket;
        });
        _serving = ServeAsync();
    }

    public NetworkNamespace Network { get; }

    public MiniControlPlane Control { get; }

    public Process? Envoy { get; private set; }

    public string Log { get; private set; } = "";

    public static async Task<MiniEnvoyRig> StartAsync(MeshModel mesh, string apiType, IstiodVersion version = IstiodVersion.V1_31)
    {
        NetworkNamespace network = await NetworkNamespace.CreateAsync("vsc-mini");
        await network.RunAsync($"ip addr add {Address}/32 dev lo");
        foreach (string rule in new[] { "-s 127.0.0.6 -j RETURN", $"-d {Address} --dport 8080 -j REDIRECT --to-ports 15006", "-d 240.240.0.0/16 -j REDIRECT --to-ports 15001" })
        {
            await network.RunAsync($"iptables -w -t nat -A OUTPUT -p tcp {rule}");
        }
        await network.RunAsync("ip route add 240.240.0.0/16 dev lo");
        var rig = new MiniEnvoyRig(network, mesh, version);
        await rig.Control.StartAsync();
        await rig.LaunchAsync(apiType);
        return rig;
    }

    /// <summary>Runs curl inside; the body, or <c>exit N</c>.</summary>
    public async Task<string> CurlAsync(string arguments)
    {
        CommandResult done = await Network.Commands.RunAsync("curl", ["-s", "-S", "--max-time", "20", .. arguments.Split(' ')], "", CancellationToken.None);
        return done.Succeeded ? done.Output : $"exit {done.ExitCode}";
    }

    /// <summary>Asks until the answer is the one wanted.</summary>
    public async Task UntilAsync(string arguments, Predicate<string> wanted)
    {
        using var deadline = new CancellationTokenSource(Test.Deadline);
        string answer = "";
        while (!wanted(answer))
        {
            if (deadline.IsCancellationRequested) { throw new TimeoutException($"{arguments}: {answer}\n{Log}\n{string.Join('\n', Control.Requests)}"); }
            await Task.Delay(TimeSpan.FromMilliseconds(100), TimeProvider.System);
            answer = await CurlAsync(arguments);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (Envoy is { HasExited: false }) { Envoy.Kill(); }
        Envoy?.Dispose();
        _application.Dispose();
        await _serving;
        await Control.DisposeAsync();
        await Network.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    private async Task LaunchAsync(string apiType)
    {
        JsonNode bootstrap = JsonNode.Parse(await File.ReadAllTextAsync(Path.Combine(AppContext.BaseDirectory, "Fixtures", "bootstrap", "pilot-agent-1.31.json")))!;
        bootstrap["dynamic_resources"]!["ads_config"]!["api_type"] = apiType;
        bootstrap["node"]!["metadata"]!["INSTANCE_IPS"] = Address;
        bootstrap["node"]!["metadata"]!["DNS_AUTO_ALLOCATE"] = "true";
        foreach (JsonNode? cluster in bootstrap["static_resources"]!["clusters"]!.AsArray())
        {
            string? socket = cluster!["name"]!.GetValue<string>() switch { "xds-grpc" => "XDS", "sds-grpc" => "SDS", _ => null };
            if (socket is null) { continue; }
            cluster["load_assignment"]!["endpoints"]![0]!["lb_endpoints"]![0]!["endpoint"]!["address"]!["pipe"]!["path"] = Path.Combine(_folder.FullName, socket);
        }
        string file = Path.Combine(_folder.FullName, "envoy-rev.json");
        await File.WriteAllTextAsync(file, bootstrap.ToJsonString());
        Envoy = Process.Start(new ProcessStartInfo("ip",
        [
            "netns", "exec", Network.Name, "dotnet", "exec", Path.Combine(AppContext.BaseDirectory, "mini-envoy.dll"), "-c", file, "--drain-time-s", "45", "--drain-strategy", "immediate",
            "--local-address-ip-version", "v4", "--file-flush-interval-msec", "1000", "--disable-hot-restart", "--allow-unknown-static-fields", "-l", "warning", "--skip-deprecated-logs",
        ])
        { RedirectStandardError = true, RedirectStandardOutput = true })!;
        Envoy.ErrorDataReceived += (_, line) => Log += line.Data + "\n";
        Envoy.OutputDataReceived += (_, line) => Log += line.Data + "\n";
        Envoy.BeginErrorReadLine();
        Envoy.BeginOutputReadLine();
    }

    private async Task ServeAsync()
    {
        var open = new List<Task>();
        try { while (true) { open.Add(AnswerAsync(await _application.AcceptAsync())); } }
        catch (Exception e) when (e is SocketException or ObjectDisposedException) { }
        await Task.WhenAll(open);
    }

    /// <summary>Says who called, by which address and header, and how long the body was.</summary>
    private static async Task AnswerAsync(Socket socket)
    {
        await using var stream = new NetworkStream(socket, ownsSocket: true);
        var reader = new HttpReader(stream);
        try
        {
            while (await reader.ReadHeadAsync(default) is { } request)
            {
                using var body = new MemoryStream();
                long length = await reader.CopyBodyAsync(body, request.IsChunked, request.Length ?? 0, default);
                string text = $"welcome from={((IPEndPoint)socket.RemoteEndPoint!).Address} bytes={length} xfcc={request["x-forwarded-client-cert"] ?? "none"}\n";
                await stream.WriteAsync(System.Text.Encoding.ASCII.GetBytes($"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{text.Length:x}\r\n{text}\r\n0\r\n\r\n"));
            }
        }
        catch (IOException) { }
    }
}
