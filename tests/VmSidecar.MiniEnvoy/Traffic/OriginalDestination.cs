using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>Where a redirected connection wanted to go: SO_ORIGINAL_DST of the kernel's NAT, for both families.</summary>
internal static class OriginalDestination
{
    private const int SolIp = 0;        // linux/in.h
    private const int SolIpv6 = 41;
    private const int SoOriginalDst = 80; // linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST has the same number

    /// <summary>The destination before redirection; the local address when the connection was not redirected.</summary>
    public static IPEndPoint Of(Socket socket)
    {
        var local = Plain((IPEndPoint)socket.LocalEndPoint!);
        Span<byte> address = stackalloc byte[28]; // sockaddr_in6
        try
        {
            if (local.AddressFamily == AddressFamily.InterNetwork)
            {
                socket.GetRawSocketOption(SolIp, SoOriginalDst, address[..16]);
                return new IPEndPoint(new IPAddress(address.Slice(4, 4)), BinaryPrimitives.ReadUInt16BigEndian(address[2..]));
            }
            socket.GetRawSocketOption(SolIpv6, SoOriginalDst, address);
            return new IPEndPoint(new IPAddress(address.Slice(8, 16)), BinaryPrimitives.ReadUInt16BigEndian(address[2..]));
        }
        catch (SocketException) { return local; } // ENOENT: no NAT entry
    }

    /// <summary>An IPv4 address in IPv6 clothes as IPv4.</summary>
    public static IPEndPoint Plain(IPEndPoint end) => end.Address.IsIPv4MappedToIPv6 ? new IPEndPoint(end.Address.MapToIPv4(), end.Port) : end;
}
