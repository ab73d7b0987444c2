using System.Net;
using System.Net.Sockets;

namespace VmSidecar.TestKit;

/// <summary>
/// Ports of 127.0.0.1 that nobody holds, for one who binds them later or never. They lie below those the kernel gives away by itself
/// (net.ipv4.ip_local_port_range, from 32768), so that no connection and no "port 0" of another test takes one in between. Thread-safe.
/// </summary>
internal static class FreePort
{
    private const int First = 20_000, Count = 12_000;

    private static int s_handedOut = Random.Shared.Next(Count); // another process begins elsewhere

    /// <summary>A port that is free for TCP and UDP; each one once in this process until all have been used.</summary>
    public static int Next()
    {
        for (int i = 0; i < Count; i++)
        {
            int port = First + (int)((uint)Interlocked.Increment(ref s_handedOut) % Count);
            if (IsFree(port, SocketType.Stream, ProtocolType.Tcp) && IsFree(port, SocketType.Dgram, ProtocolType.Udp)) { return port; }
        }
        throw new InvalidOperationException("no port of 127.0.0.1 is free");
    }

    private static bool IsFree(int port, SocketType type, ProtocolType protocol)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, type, protocol);
        try { socket.Bind(new IPEndPoint(IPAddress.Any, port)); }
        catch (SocketException) { return false; }
        return true;
    }
}
