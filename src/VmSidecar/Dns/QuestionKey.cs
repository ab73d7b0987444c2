using System.Buffers.Binary;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>What makes two questions the same for coalescing and caching: name in lower case, type, class, and the flags an answer depends on.</summary>
internal static class QuestionKey
{
    public const int MaxLength = WireName.MaxLength + 5;

    /// <summary>The key as a new array; null when the question must travel alone (not a plain query, or EDNS options of its own).</summary>
    public static byte[]? For(ReadOnlySpan<byte> packet, DnsQuery query, bool tcp)
    {
        Span<byte> key = stackalloc byte[MaxLength];
        int length = Write(packet, query, tcp, key);
        return length == 0 ? null : key[..length].ToArray();
    }

    /// <summary>Writes the key; 0: none. <paramref name="tcp"/> parts questions in flight only: by UDP the answer may come back cut.</summary>
    public static int Write(ReadOnlySpan<byte> packet, DnsQuery query, bool tcp, Span<byte> key)
    {
        bool plain = query.Header.Opcode == 0 && query.Header.Answers == 0 && query.Header.Authorities == 0
            && query.Header.Additionals == (query.Edns.IsPresent ? 1 : 0) && !query.Edns.HasOwnOptions;
        if (!plain || query.Question.Type is DnsType.AXFR or DnsType.IXFR) { return 0; }
        int length = query.Question.NameLength;
        WireName.ToLower(query.Name(packet), key);
        BinaryPrimitives.WriteUInt16BigEndian(key[length..], query.Question.Type);
        BinaryPrimitives.WriteUInt16BigEndian(key[(length + 2)..], query.Question.Class);
        int flags = query.Header.Flags & (DnsHeader.CheckingDisabled | DnsHeader.AuthenticData); // 0x30
        if ((query.Header.Flags & DnsHeader.RecursionDesired) != 0) { flags |= 1; }
        if (query.Edns.IsPresent) { flags |= 2; }
        if (query.Edns.DnssecOk) { flags |= 4; }
        if (tcp) { flags |= 8; }
        key[length + 4] = (byte)flags;
        return length + 5;
    }

    /// <summary>The query without EDNS options that belong to one hop (cookies, RFC 7873 §5.2: ours and the upstream's are two conversations); the packet itself when there are none or they must stay.</summary>
    public static byte[] WithoutHopOptions(byte[] packet, DnsQuery query)
    {
        const int Fixed = 11; // root, type, class, TTL, length
        bool strip = query.Edns.IsPresent && !query.Edns.HasOwnOptions && query.Edns.End - query.Edns.Start > Fixed && query.Edns.End == packet.Length;
        if (!strip) { return packet; }
        byte[] bare = packet[..(query.Edns.Start + Fixed)];
        bare[^1] = bare[^2] = 0;
        return bare;
    }
}
