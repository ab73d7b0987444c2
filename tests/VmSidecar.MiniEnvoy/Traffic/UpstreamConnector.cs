using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;

using VmSidecar.MiniEnvoy.Resources;

namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>Connects to a host of a cluster: picks, binds, dials, secures. Tries other hosts when a connection fails, as often as allowed.</summary>
internal static class UpstreamConnector
{
    private static readonly TimeSpan DefaultTimeout = TimeSpan.FromSeconds(5);

    /// <summary>The connection, or why there is none in Envoy's words.</summary>
    public static async Task<(Duplex? Connection, Upstream? Host, string Failure)> ConnectAsync(ClusterEntry cluster, IPEndPoint destination, int retries, CancellationToken stop)
    {
        var tried = new List<Upstream>();
        string failure = "no healthy upstream";
        for (int attempt = 0; attempt <= retries; attempt++)
        {
            Upstream? host = cluster.IsOriginalDestination ? new Upstream(destination, destination.ToString(), 1, 0, true, null) : cluster.Pick(tried);
            if (host is null) { break; }
            tried.Add(host);
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(stop);
            limit.CancelAfter(cluster.Config.ConnectTimeout?.ToTimeSpan() ?? DefaultTimeout);
            try { return (await DialAsync(cluster, host, limit.Token), host, ""); }
            catch (OperationCanceledException) when (!stop.IsCancellationRequested) { failure = Text("connection timeout"); }
            catch (SocketException e) { failure = Text($"remote connection failure, transport failure reason: delayed connect error: {e.SocketErrorCode}"); }
            catch (AuthenticationException e) { failure = Text($"remote connection failure, transport failure reason: TLS_error:{e.Message} {e.InnerException?.Message}"); }
            catch (IOException e) { failure = Text($"remote connection failure, transport failure reason: {e.Message}"); }
        }
        return (null, tried.Count > 0 ? tried[^1] : null, failure);
    }

    private static string Text(string reason) => "upstream connect error or disconnect/reset before headers. reset reason: " + reason;

    private static async Task<Duplex> DialAsync(ClusterEntry cluster, Upstream host, CancellationToken stop)
    {
        bool tcp = host.Address is IPEndPoint;
        var socket = new Socket(host.Address.AddressFamily, SocketType.Stream, tcp ? ProtocolType.Tcp : ProtocolType.Unspecified);
        try
        {
            if (tcp) { socket.NoDelay = true; }
            if (cluster.Config.UpstreamBindConfig?.SourceAddress is { } source && SourceFor(source, host.Address) is { } own) { socket.Bind(own); }
            await socket.ConnectAsync(host.Address, stop);
            var stream = new NetworkStream(socket);
            if (cluster.TlsFor(host) is not { } tls) { return new Duplex(stream, socket); }
            var secure = new SslStream(stream);
            await secure.AuthenticateAsClientAsync(tls.Client(), stop);
            return new Duplex(secure, socket);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    // A source of the other family cannot be bound; Envoy leaves it to the kernel then.
    private static IPEndPoint? SourceFor(EnvoyApi.Core.SocketAddress source, EndPoint host) =>
        IPAddress.TryParse(source.Address, out IPAddress? address) && address.AddressFamily == host.AddressFamily ? new IPEndPoint(address, (int)source.PortValue) : null;
}
