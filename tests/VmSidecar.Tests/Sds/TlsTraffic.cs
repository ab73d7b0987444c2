using System.Collections.Concurrent;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;

using VmSidecar.MiniEnvoy.Resources;
using VmSidecar.TestKit;

namespace VmSidecar.Tests.Sds;

/// <summary>
/// Mutual TLS between two VMs that never rests: workers that open a connection, exchange and close, and as many that keep one connection for
/// good. Every failure of either side is kept. Dispose ends it.
/// </summary>
internal sealed class TlsTraffic : IAsyncDisposable
{
    private const int Workers = 3;
    private readonly CancellationTokenSource _stop = new();
    private readonly Socket _listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
    private readonly EndPoint _address; // the listener's own is gone with it
    private readonly TlsPolicy _client;
    private readonly TlsPolicy _server;
    private readonly List<Task> _running = [];
    private readonly ConcurrentDictionary<string, int> _seen = new(StringComparer.Ordinal);
    private volatile TaskCompletionSource _progress = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _kept;

    public TlsTraffic(TlsPolicy client, TlsPolicy server)
    {
        (_client, _server) = (client, server);
        _listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        _listener.Listen(100);
        _address = _listener.LocalEndPoint!;
        _running.Add(AcceptAsync());
        for (int worker = 0; worker < Workers; worker++)
        {
            _running.Add(GuardAsync("new connection", NewConnectionsAsync));
            _running.Add(GuardAsync("kept connection", KeptConnectionAsync));
        }
    }

    /// <summary>What went wrong on either side, if anything did.</summary>
    public ConcurrentQueue<string> Failures { get; } = [];

    /// <summary>Exchanges on connections that were opened at the start.</summary>
    public long Kept => Interlocked.Read(ref _kept);

    /// <summary>Waits until some more connections have met this certificate of the server.</summary>
    public async Task MeetsAsync(string serial, int connections = 2 * Workers)
    {
        int begin = _seen.GetValueOrDefault(serial);
        using var limit = new CancellationTokenSource(Test.Deadline);
        while (Failures.IsEmpty)
        {
            Task progress = _progress.Task;
            if (_seen.GetValueOrDefault(serial) >= begin + connections) { return; }
            await progress.WaitAsync(limit.Token);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _listener.Dispose();
        await Task.WhenAll(_running);
        _stop.Dispose();
    }

    private async Task GuardAsync(string what, Func<Task> work)
    {
        try { await work(); }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested) { }
        catch (Exception e) when (e is IOException or SocketException or AuthenticationException) { if (!_stop.IsCancellationRequested) { Fail($"{what}: {e.Message} {e.InnerException?.Message}"); } }
    }

    private async Task NewConnectionsAsync()
    {
        while (true)
        {
            await using SslStream stream = await ConnectAsync();
            await ExchangeAsync(stream);
            _seen.AddOrUpdate(((X509Certificate2)stream.RemoteCertificate!).SerialNumber, 1, (_, n) => n + 1);
            Moved();
        }
    }

    private async Task KeptConnectionAsync()
    {
        await using SslStream stream = await ConnectAsync();
        while (true)
        {
            await ExchangeAsync(stream);
            Interlocked.Increment(ref _kept);
            await Task.Delay(TimeSpan.FromMilliseconds(5), TimeProvider.System, _stop.Token); // a load, not a flood: others share the machine
        }
    }

    private async Task<SslStream> ConnectAsync()
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(_address, _stop.Token);
        var stream = new SslStream(new NetworkStream(socket, ownsSocket: true));
        await stream.AuthenticateAsClientAsync(_client.Client(), _stop.Token);
        return stream;
    }

    /// <summary>Asks and reads the answer: with TLS 1.3 a server that refuses the client says so only then.</summary>
    private async Task ExchangeAsync(SslStream stream)
    {
        byte[] question = new byte[512], answer = new byte[512];
        Random.Shared.NextBytes(question);
        await stream.WriteAsync(question, _stop.Token);
        await stream.ReadExactlyAsync(answer, _stop.Token);
        if (!question.AsSpan().SequenceEqual(answer)) { Fail("the echo differs"); }
    }

    private async Task AcceptAsync()
    {
        var open = new List<Task>();
        try { while (true) { open.Add(GuardAsync("server", ServeOn(await _listener.AcceptAsync(_stop.Token)))); } }
        catch (Exception e) when (_stop.IsCancellationRequested && e is OperationCanceledException or SocketException or ObjectDisposedException) { }
        await Task.WhenAll(open);
    }

    private Func<Task> ServeOn(Socket socket) => async () =>
    {
        await using var stream = new SslStream(new NetworkStream(socket, ownsSocket: true));
        await stream.AuthenticateAsServerAsync(_server.Server([]), _stop.Token);
        byte[] buffer = new byte[512];
        while (await stream.ReadAsync(buffer, _stop.Token) is var read and > 0) { await stream.WriteAsync(buffer.AsMemory(0, read), _stop.Token); }
    };

    private void Fail(string what)
    {
        Failures.Enqueue(what);
        Moved();
    }

    private void Moved() => Interlocked.Exchange(ref _progress, new(TaskCreationOptions.RunContinuationsAsynchronously)).TrySetResult();
}
