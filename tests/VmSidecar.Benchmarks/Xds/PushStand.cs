using System.Diagnostics;
using System.Net;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Grpc;
using VmSidecar.TestKit.Pki;
using VmSidecar.Xds;

namespace VmSidecar.Benchmarks.Xds;

/// <summary>An istiod that sends what it is told on every stream, over TLS as the real one. One per run.</summary>
internal sealed class PushStand : IAsyncDisposable
{
    private readonly FakeCa _ca = new(TimeProvider.System);
    private readonly GrpcServer _server;
    private readonly SemaphoreSlim _opened = new(0);
    private IGrpcServerCall? _latest;

    public PushStand()
    {
        SslStreamCertificateContext serving = _ca.IssueServer(BenchTls.Name).TlsContext();
        _server = new GrpcServer(
            new GrpcServerOptions("stand", null, new IPEndPoint(IPAddress.Loopback, 0), () => new SslServerAuthenticationOptions { ServerCertificateContext = serving }, 64 * 1024 * 1024),
            new Dictionary<string, GrpcHandler>(StringComparer.Ordinal) { [XdsMessages.SotwMethod] = ServeAsync, [XdsMessages.DeltaMethod] = ServeAsync },
            NullLogger.Instance);
    }

    public X509Certificate2 Root => _ca.Root;

    public string RootPem => _ca.RootsPem;

    public string Target => _server.Bound!.ToString();

    public Task StartAsync() => _server.StartAsync(CancellationToken.None);

    /// <summary>The stand's end of the stream opened last whose client has asked for something.</summary>
    public async Task<IGrpcServerCall> NextAsync()
    {
        await _opened.WaitAsync();
        return _latest!;
    }

    public async ValueTask DisposeAsync()
    {
        using var hard = new CancellationTokenSource(TimeSpan.FromSeconds(1));
        await _server.StopAsync(hard.Token);
        _server.Dispose();
    }

    private async Task<GrpcStatus> ServeAsync(IGrpcServerCall call, CancellationToken aborted)
    {
        bool first = true;
        while (await call.ReadAsync(aborted) is { } request) // what follows the first are acknowledgements
        {
            request.Dispose();
            if (!first) { continue; }
            first = false;
            _latest = call;
            _opened.Release();
        }
        return GrpcStatus.Ok;
    }
}

/// <summary>An Envoy that reads and acknowledges, and the stand's end of its stream: the two ends of one path under measurement.</summary>
internal sealed class PushPath(GrpcChannel channel, IGrpcClientCall envoy, IGrpcServerCall istiod) : IAsyncDisposable
{
    /// <summary>Opens a delta stream whose first request carries this node, and waits until the stand has seen it.</summary>
    public static async Task<PushPath> OpenAsync(GrpcChannelOptions to, PushStand stand, byte[] firstRequest)
    {
        var channel = new GrpcChannel(to);
        IGrpcClientCall call = await channel.OpenAsync(XdsMessages.DeltaMethod, [], CancellationToken.None);
        await call.SendAsync(firstRequest, CancellationToken.None);
        return new PushPath(channel, call, await stand.NextAsync());
    }

    /// <summary>One push, from the moment istiod begins to send until Envoy holds all of it; then the acknowledgement. Milliseconds.</summary>
    public async Task<double> PushAsync(byte[] response, byte[] acknowledgement, int expected)
    {
        long begin = Stopwatch.GetTimestamp();
        Task sent = SendAsync(response, times: 1);
        double took = await ReadAsync(acknowledgement, expected, begin);
        await sent;
        return took;
    }

    /// <summary>istiod's half of pushes; ends when flow control has taken all of them.</summary>
    public async Task SendAsync(byte[] response, int times)
    {
        for (int i = 0; i < times; i++) { await istiod.SendAsync(response, CancellationToken.None); }
    }

    /// <summary>Envoy's half of one push: reads and acknowledges it. Milliseconds since <paramref name="begin"/> until Envoy held all of it.</summary>
    public async Task<double> ReadAsync(byte[] acknowledgement, int expected, long begin = 0)
    {
        using (GrpcMessage? got = await envoy.ReadAsync(CancellationToken.None))
        {
            if (got is null) { throw new InvalidOperationException($"the stream ended: {envoy.Status}"); }
            if (got.Length != expected) { throw new InvalidOperationException($"{got.Length} bytes came, {expected} were expected"); }
        }
        double took = Stopwatch.GetElapsedTime(begin).TotalMilliseconds;
        await envoy.SendAsync(acknowledgement, CancellationToken.None);
        return took;
    }

    public async ValueTask DisposeAsync()
    {
        await envoy.DisposeAsync();
        await channel.DisposeAsync();
    }
}
