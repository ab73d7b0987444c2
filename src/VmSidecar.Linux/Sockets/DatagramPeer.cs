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

    /// <summary>
    /// Keeps of the control message the address alone: the kernel tells with it the interface the datagram came in by, and would send the answer out there,
    /// although the way back may be another (asymmetric routes). A link-local address means nothing without its interface, and keeps it.
    /// </summary>
    public void FreeRoute()
    {
        const int Level = 8, Data = 16;             // in cmsghdr; behind it
        const int V4End = Data + 12, V6End = Data + 20; // in_pktinfo: interface, address to answer from, address; in6_pktinfo: address, interface
        Span<byte> control = Control;
        bool isLinkLocal = control[Data] == 0xfe && (control[Data + 1] & 0xc0) == 0x80;
        if (control[Level] == 0 && ControlLength >= V4End) { control.Slice(Data, sizeof(int)).Clear(); }
        if (control[Level] == DatagramSocket.Ipv6 && ControlLength >= V6End && !isLinkLocal) { control.Slice(V6End - sizeof(int), sizeof(int)).Clear(); }
    }

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
