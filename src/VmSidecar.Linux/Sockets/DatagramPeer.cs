using System.Runtime.CompilerServices;

namespace VmSidecar.Linux.Sockets;

/// <summary>
/// Where a datagram came from and to which of our addresses, as the kernel wrote it: a sockaddr, and, for a socket bound to any address, the control
/// message (IP_PKTINFO, IPV6_PKTINFO) that makes the answer leave from the address that was asked. A value: copying keeps it.
/// </summary>
internal struct DatagramPeer
{
    public const int MaxAddress = 28; // sockaddr_in6
    public const int MaxControl = 48; // cmsghdr and in6_pktinfo, with padding

    public Bytes28 Address;
    public Bytes48 Control;
    public int AddressLength;
    public int ControlLength;

    /// <summary>The sender's port; sockaddr_in and sockaddr_in6 alike.</summary>
    public readonly int Port => (Address[2] << 8) | Address[3];

    [InlineArray(MaxAddress)]
    public struct Bytes28
    {
        private byte _first;
    }

    [InlineArray(MaxControl)]
    public struct Bytes48
    {
        private byte _first;
    }
}
