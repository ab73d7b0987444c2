using System.Globalization;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;

using VmSidecar.MiniEnvoy.Observed;
using VmSidecar.MiniEnvoy.Resources;

namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>
/// One accepted connection: (1) original destination, (2) hand-over to that destination's listener, (3) listener filters, (4) filter
/// chain, (5) TLS, (6) HTTP or TCP. Every failure ends this connection only.
/// </summary>
internal sealed class ConnectionProxy(ClusterSet clusters, StatStore stats, DrainState drain, AccessLog access)
{
    private readonly HttpProxy _http = new(clusters, drain, access);
    private readonly TcpRelay _tcp = new(clusters, access);

    public async Task HandleAsync(ListenerSet listeners, ListenerEntry listener, Socket socket, CancellationToken stop)
    {
        string stat = string.Create(CultureInfo.InvariantCulture, $"listener.{listener.Address.Address}_{listener.Address.Port}.downstream_cx_");
        stats.Move(stat + "active", 1);
        stats.Add(stat + "total");
        try { await ServeAsync(listeners, listener, socket, stop); }
        catch (Exception e) when (e is IOException or SocketException or AuthenticationException or ObjectDisposedException) { } // a peer may leave, or not be let in
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { }
        finally
        {
            socket.Dispose();
            stats.Move(stat + "active", -1);
        }
    }

    private async Task ServeAsync(ListenerSet listeners, ListenerEntry listener, Socket socket, CancellationToken stop)
    {
        socket.NoDelay = true;
        IPEndPoint destination = listener.RestoresDestination ? OriginalDestination.Of(socket) : OriginalDestination.Plain((IPEndPoint)socket.LocalEndPoint!); // 1
        IPEndPoint remote = OriginalDestination.Plain((IPEndPoint)socket.RemoteEndPoint!);
        bool redirected = destination.Port != listener.Address.Port;
        if (listener.HandsOff && redirected) { listener = listeners.Find(destination) ?? listener; } // 2
        await using var peeked = new PeekedStream(new NetworkStream(socket));
        Inspection seen = await Inspection.RunAsync(listener, destination.Port, peeked, stop); // 3
        if (ChainMatcher.Find(listener, destination, seen) is not { } chain) // 4
        {
            stats.Add(string.Create(CultureInfo.InvariantCulture, $"listener.{listener.Address.Address}_{listener.Address.Port}.no_filter_chain_match"));
            return;
        }
        Stream stream = peeked;
        if (chain.Tls is { } tls) // 5
        {
            var secure = new SslStream(peeked);
            await secure.AuthenticateAsServerAsync(tls.Server(seen.Protocols), stop);
            stream = secure;
        }
        await using var connection = new Duplex(stream, socket);
        var downstream = new Downstream(connection, remote, destination, listener, chain, seen.ServerName);
        if (chain.Tcp is not null) { await _tcp.RunAsync(downstream, stop); } // 6
        else { await _http.RunAsync(downstream, Routes, stop); }

        EnvoyApi.Routes.RouteConfiguration? Routes() => chain.RouteName is { } name ? listeners.Route(name) : chain.Http!.RouteConfig;
    }
}
