using System.Net;
using System.Net.Sockets;

namespace VmSidecar.Health;

/// <summary>Connects a probe. Each address of the host is tried in turn, IPv4 first, from the given source where the family matches.</summary>
internal static class ProbeSocket
{
    private const int LongestName = 255; // RFC 1035 §2.3.4

    /// <summary>A connected socket the caller owns. Throws SocketException with the first reason.</summary>
    public static async Task<Socket> ConnectAsync(string host, int port, IPAddress? source, CancellationToken cancel)
    {
        if (host.Length > LongestName) { throw new SocketException((int)SocketError.HostNotFound); }
        IPAddress[] addresses = IPAddress.TryParse(host, out IPAddress? literal) ? [literal] : await System.Net.Dns.GetHostAddressesAsync(host, cancel);
        SocketException? first = null;
        foreach (IPAddress address in addresses.OrderBy(a => a.AddressFamily == AddressFamily.InterNetwork ? 0 : 1))
        {
            var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true, LingerState = new LingerOption(true, 1) };
            try
            {
                if (source?.AddressFamily == address.AddressFamily) { Bind(socket, source); }
                await socket.ConnectAsync(new IPEndPoint(address, port), cancel);
                return socket;
            }
            catch (SocketException e)
            {
                socket.Dispose();
                first ??= e;
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }
        throw first ?? new SocketException((int)SocketError.HostNotFound);
    }

    // ::6 is on the loopback device only where capture rules put it; without rules no source is needed.
    private static void Bind(Socket socket, IPAddress source)
    {
        try { socket.Bind(new IPEndPoint(source, 0)); }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.AddressNotAvailable) { }
    }
}
