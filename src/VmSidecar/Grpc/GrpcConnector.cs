using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;

using VmSidecar.Wire.Grpc;

namespace VmSidecar.Grpc;

/// <summary>
/// Makes the connections of a channel and names what failed: DNS, TCP, TLS. Does TLS itself, so that options are read per
/// connection and ALPN is checked. Owned by <see cref="GrpcChannel"/>.
/// </summary>
internal sealed class GrpcConnector(GrpcChannelOptions options) : IDisposable
{
    private static readonly Task s_never = new TaskCompletionSource().Task;

    private const string UnixPrefix = "unix:";
    private readonly Lock _gate = new();          // guards the two below
    private readonly List<Socket> _sockets = [];  // at most one in use; closed ones leave when the next comes
    private bool _disposed;
    private volatile Http2GoAwayScanner? _latest;

    /// <summary>What the peer of the latest connection has said of its end.</summary>
    public PeerGoodbye Goodbye => new(_latest?.Code ?? -1, _latest?.Reset ?? -1);

    /// <summary>Ends when the peer of the latest connection says that it leaves in order.</summary>
    public Task Leaving => _latest?.Leaving ?? s_never;

    /// <summary>One new connection, ready for the HTTP/2 preface. Throws <see cref="GrpcException"/> UNAVAILABLE with the reason.</summary>
    public async ValueTask<Stream> ConnectAsync(CancellationToken stop)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(stop);
        limit.CancelAfter(options.ConnectTimeout);
        string step = "resolving the name";
        Socket? socket = null;
        try
        {
            (EndPoint end, string what) = await ResolveAsync(limit.Token);
            step = $"connecting to {what}";
            socket = await DialAsync(end, limit.Token);
            step = $"TLS handshake with {what}";
            Stream stream = new NetworkStream(socket, ownsSocket: true);
            var scanner = new Http2GoAwayScanner();
            Stream ready = options.Tls is null ? new ScannedStream(stream, scanner) : await SecureAsync(stream, scanner, Prepare(options.Tls), limit.Token);
            Keep(socket);
            _latest = scanner;
            socket = null;
            return ready;
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            throw Unavailable($"connection error: {step}: no answer within {options.ConnectTimeout.TotalSeconds:0.###}s", null);
        }
        catch (SocketException e) { throw Unavailable($"connection error: {step}: {Reason(e)}", e); }
        catch (AuthenticationException e) { throw Unavailable($"connection error: {step}: {Reason(e)}", e); }
        catch (IOException e) { throw Unavailable($"connection error: {step}: {e.InnerException?.Message ?? e.Message}", e); }
        finally { socket?.Dispose(); }
    }

    /// <summary>Closes what is open: HttpClient leaves connections with calls on them alone when it is disposed.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            foreach (Socket socket in _sockets) { socket.Dispose(); }
            _sockets.Clear();
        }
    }

    private void Keep(Socket socket)
    {
        lock (_gate)
        {
            if (_disposed) { throw Unavailable("connection error: the channel is closed", null); }
            _sockets.RemoveAll(s => s.SafeHandle.IsClosed);
            _sockets.Add(socket);
        }
    }

    private async ValueTask<(EndPoint End, string What)> ResolveAsync(CancellationToken stop)
    {
        if (options.Target.StartsWith(UnixPrefix, StringComparison.Ordinal))
        {
            string path = options.Target[UnixPrefix.Length..];
            return (new UnixDomainSocketEndPoint(path), path);
        }
        if (IPEndPoint.TryParse(options.Target, out IPEndPoint? literal) && literal.Port != 0) { return (literal, literal.ToString()); }
        int colon = options.Target.LastIndexOf(':');
        if (colon <= 0 || !ushort.TryParse(options.Target.AsSpan(colon + 1), out ushort port))
        {
            throw Unavailable($"connection error: '{options.Target}' is not host:port", null);
        }
        string host = options.Target[..colon];
        try
        {
            IPAddress[] addresses = await System.Net.Dns.GetHostAddressesAsync(host, stop);
            return (new ResolvedEndPoint(addresses, port), options.Target);
        }
        catch (SocketException e) { throw Unavailable($"connection error: name {host} cannot be resolved: {e.Message}", e); }
    }

    private static Task<Socket> DialAsync(EndPoint end, CancellationToken stop) => end is ResolvedEndPoint resolved
        ? StaggeredDial.ConnectAsync(StaggeredDial.Interleave(resolved.Addresses), (address, given) => DialOneAsync(new IPEndPoint(address, resolved.Port), given), TimeProvider.System, stop)
        : DialOneAsync(end, stop);

    private static async Task<Socket> DialOneAsync(EndPoint end, CancellationToken stop)
    {
        bool unix = end is UnixDomainSocketEndPoint;
        var socket = new Socket(end.AddressFamily, SocketType.Stream, unix ? ProtocolType.Unspecified : ProtocolType.Tcp);
        try
        {
            if (!unix) { socket.NoDelay = true; }
            await socket.ConnectAsync(end, stop);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    // What fails here is ours, not the peer's: roots or keys that cannot be used.
    private static SslClientAuthenticationOptions Prepare(Func<SslClientAuthenticationOptions> tls)
    {
        try { return tls(); }
        catch (Exception e) when (e is AuthenticationException or IOException or System.Security.Cryptography.CryptographicException or UnauthorizedAccessException)
        {
            throw new GrpcException(new GrpcStatus(GrpcStatusCode.Unavailable, $"connection error: {e.Message}"), e) { IsOurs = true };
        }
    }

    private static async Task<Stream> SecureAsync(Stream stream, Http2GoAwayScanner scanner, SslClientAuthenticationOptions tls, CancellationToken stop)
    {
        tls.ApplicationProtocols ??= [SslApplicationProtocol.Http2];
        var secure = new ScannedSslStream(stream, scanner);
        try
        {
            await secure.AuthenticateAsClientAsync(tls, stop);
            if (secure.NegotiatedApplicationProtocol != SslApplicationProtocol.Http2)
            {
                throw Unavailable($"connection error: the server does not speak HTTP/2 (ALPN '{secure.NegotiatedApplicationProtocol}')", null);
            }
            return secure;
        }
        catch
        {
            await secure.DisposeAsync();
            throw;
        }
    }

    private static string Reason(SocketException e) => e.SocketErrorCode switch
    {
        SocketError.ConnectionRefused => "connection refused",
        SocketError.TimedOut => "timed out",
        SocketError.HostUnreachable or SocketError.NetworkUnreachable => "no route",
        _ => e.Message,
    };

    private static string Reason(AuthenticationException e)
    {
        string text = e.InnerException is null ? e.Message : $"{e.Message} {e.InnerException.Message}";
        if (text.Contains(nameof(SslPolicyErrors.RemoteCertificateNameMismatch), StringComparison.Ordinal)) { return $"the server's certificate is for another name. {text}"; }
        return text.Contains("certificate chain", StringComparison.Ordinal) || text.Contains(nameof(SslPolicyErrors.RemoteCertificateChainErrors), StringComparison.Ordinal) ? $"the server's certificate is not trusted. {text}" : text;
    }

    private static GrpcException Unavailable(string message, Exception? cause) => new(new GrpcStatus(GrpcStatusCode.Unavailable, message), cause);

    private sealed class ResolvedEndPoint(IPAddress[] addresses, int port) : EndPoint
    {
        public IPAddress[] Addresses => addresses;

        public int Port => port;
    }
}
