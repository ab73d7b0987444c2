using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace VmSidecar.Linux.Sockets;

/// <summary>What .NET has no names for on UDP sockets.</summary>
internal static class DatagramSocket
{
    private const int SocketLevel = 1, ReusePort = 15; // SOL_SOCKET, SO_REUSEPORT
    private const int Ip = 0, PacketInfo = 8;          // IPPROTO_IP, IP_PKTINFO
    private const int ReceivePacketInfo = 49;          // IPV6_RECVPKTINFO

    /// <summary>IPPROTO_IPV6.</summary>
    public const int Ipv6 = 41;

    /// <summary>
    /// Lets more sockets of this process share the address of a bound one; the kernel then spreads clients over them. Set after the first bind, so that this
    /// bind still fails while anybody else, another agent too, holds the address.
    /// </summary>
    public static void ShareAddress(Socket socket) => Set(socket, SocketLevel, ReusePort);

    /// <summary>On a socket bound to any address: tells with each datagram which address it was sent to.</summary>
    public static void TellAddress(Socket socket)
    {
        if (socket.AddressFamily == AddressFamily.InterNetworkV6) { Set(socket, Ipv6, ReceivePacketInfo); }
        else { Set(socket, Ip, PacketInfo); }
    }

    /// <summary>True for 0.0.0.0 and ::.</summary>
    public static bool IsAny(IPAddress address) => address.Equals(IPAddress.Any) || address.Equals(IPAddress.IPv6Any);

    /// <summary>Sends on a connected socket without ever waiting; false when the kernel does not take it, or reports an earlier datagram refused.</summary>
    public static unsafe bool TrySend(SafeHandle socket, ReadOnlySpan<byte> datagram)
    {
        bool held = false;
        try
        {
            socket.DangerousAddRef(ref held);
            fixed (byte* bytes = datagram)
            {
                return SocketCalls.SendOne((int)socket.DangerousGetHandle(), bytes, (nuint)datagram.Length, SocketCalls.DontWait | SocketCalls.NoSignal) >= 0;
            }
        }
        catch (ObjectDisposedException)
        {
            return false;
        }
        finally
        {
            if (held) { socket.DangerousRelease(); }
        }
    }

    private static void Set(Socket socket, int level, int option) => socket.SetRawSocketOption(level, option, [1, 0, 0, 0]);
}
