using System.Buffers.Binary;

namespace VmSidecar.Wire.Dns;

/// <summary>The twelve bytes at the start of every DNS message (RFC 1035 §4.1.1).</summary>
internal readonly record struct DnsHeader(ushort Id, ushort Flags, ushort Questions, ushort Answers, ushort Authorities, ushort Additionals)
{
    public const int Size = 12;

    // bits of the flags word, RFC 1035 §4.1.1 and RFC 4035 §3
    public const ushort Response = 0x8000, OpcodeMask = 0x7800, Authoritative = 0x0400, Truncated = 0x0200;
    public const ushort RecursionDesired = 0x0100, RecursionAvailable = 0x0080, Zero = 0x0040;
    public const ushort AuthenticData = 0x0020, CheckingDisabled = 0x0010, RcodeMask = 0x000f;

    public bool IsResponse => (Flags & Response) != 0;

    public bool IsTruncated => (Flags & Truncated) != 0;

    public int Opcode => (Flags & OpcodeMask) >> 11;

    public int Rcode => Flags & RcodeMask;

    /// <summary>False only for fewer than twelve bytes.</summary>
    public static bool TryRead(ReadOnlySpan<byte> packet, out DnsHeader header)
    {
        if (packet.Length < Size) { header = default; return false; }
        header = new(
            BinaryPrimitives.ReadUInt16BigEndian(packet), BinaryPrimitives.ReadUInt16BigEndian(packet[2..]),
            BinaryPrimitives.ReadUInt16BigEndian(packet[4..]), BinaryPrimitives.ReadUInt16BigEndian(packet[6..]),
            BinaryPrimitives.ReadUInt16BigEndian(packet[8..]), BinaryPrimitives.ReadUInt16BigEndian(packet[10..]));
        return true;
    }

    /// <summary>False when there is no room.</summary>
    public bool TryWrite(Span<byte> packet)
    {
        if (packet.Length < Size) { return false; }
        BinaryPrimitives.WriteUInt16BigEndian(packet, Id);
        BinaryPrimitives.WriteUInt16BigEndian(packet[2..], Flags);
        BinaryPrimitives.WriteUInt16BigEndian(packet[4..], Questions);
        BinaryPrimitives.WriteUInt16BigEndian(packet[6..], Answers);
        BinaryPrimitives.WriteUInt16BigEndian(packet[8..], Authorities);
        BinaryPrimitives.WriteUInt16BigEndian(packet[10..], Additionals);
        return true;
    }
}
