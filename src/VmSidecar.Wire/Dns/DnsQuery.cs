using System.Buffers.Binary;

namespace VmSidecar.Wire.Dns;

/// <summary>What the screening of a request decided (reference: RFC 1035 §4.1.1; the order keeps a broken packet from costing more than a header).</summary>
internal enum QueryVerdict
{
    /// <summary>Silence: too short to answer, or itself a response.</summary>
    Drop,

    /// <summary>Bare header, RCODE 4.</summary>
    NotImplemented,

    /// <summary>Bare header, RCODE 1: the counts are not those of a query.</summary>
    BadCounts,

    /// <summary>RCODE 1, with the question when that much could be read.</summary>
    BadBody,

    /// <summary>Parsed.</summary>
    Accepted,
}

/// <summary>EDNS of a query (RFC 6891 §6.1): where the OPT record lies and what it says. Size 0: none.</summary>
/// <param name="Start">Offset of the OPT record.</param>
/// <param name="End">Offset behind it.</param>
/// <param name="Size">The UDP payload the client takes, as sent.</param>
/// <param name="Version">0 is the only one there is.</param>
/// <param name="DnssecOk">The DO bit.</param>
/// <param name="HasOwnOptions">It carries options that change the answer: all but cookies, padding and keep-alive, which belong to one hop.</param>
internal readonly record struct Edns(int Start, int End, ushort Size, byte Version, bool DnssecOk, bool HasOwnOptions)
{
    public bool IsPresent => End > 0;
}

/// <summary>A parsed request: header, the one question, EDNS. Offsets refer to the packet it was read from. No allocation, never throws.</summary>
internal readonly record struct DnsQuery(DnsHeader Header, DnsQuestion Question, Edns Edns, int Length)
{
    private const int OpcodeQuery = 0, OpcodeNotify = 4;
    private const ushort OptionCookie = 10, OptionKeepAlive = 11, OptionPadding = 12;

    /// <summary>Screens the header, then reads the body.</summary>
    public static QueryVerdict Read(ReadOnlySpan<byte> packet, out DnsQuery query)
    {
        query = default;
        if (!DnsHeader.TryRead(packet, out DnsHeader header) || header.IsResponse) { return QueryVerdict.Drop; }
        query = new(header, default, default, DnsHeader.Size);
        if (header.Opcode is not OpcodeQuery and not OpcodeNotify) { return QueryVerdict.NotImplemented; }
        if (header.Questions != 1 || header.Answers > 1 || header.Authorities > 1 || header.Additionals > 2) { return QueryVerdict.BadCounts; }

        var reader = new DnsReader(packet, DnsHeader.Size);
        if (!reader.TryReadQuestion(out DnsQuestion question)) { return QueryVerdict.BadBody; }
        query = new(header, question, default, question.End);

        Edns edns = default;
        for (int left = header.Answers + header.Authorities + header.Additionals; left > 0; left--)
        {
            if (!reader.TryReadRecord(out DnsRecord record)) { return QueryVerdict.BadBody; }
            if (record.Type != DnsType.OPT || left > header.Additionals) { continue; }
            // one OPT at most, and its owner is the root (RFC 6891 §6.1.1)
            if (edns.IsPresent || packet[record.Start] != 0 || !TryReadEdns(packet, record, out edns)) { return QueryVerdict.BadBody; }
        }
        query = new(header, question, edns, reader.Position);
        return QueryVerdict.Accepted;
    }

    /// <summary>The bytes of the question's name, in the client's letter case.</summary>
    public ReadOnlySpan<byte> Name(ReadOnlySpan<byte> packet) => packet.Slice(Question.NameStart, Question.NameLength);

    /// <summary>The longest answer the client takes by UDP: 512 bytes, or what its EDNS says when that is more.</summary>
    public int UdpLimit => Math.Max(512, (int)Edns.Size);

    private static bool TryReadEdns(ReadOnlySpan<byte> packet, DnsRecord record, out Edns edns)
    {
        bool own = false;
        edns = default;
        ReadOnlySpan<byte> options = packet.Slice(record.DataStart, record.DataLength);
        while (options.Length > 0)
        {
            if (options.Length < 4) { return false; }
            ushort code = BinaryPrimitives.ReadUInt16BigEndian(options);
            int length = BinaryPrimitives.ReadUInt16BigEndian(options[2..]);
            if (options.Length < 4 + length) { return false; }
            own |= code is not (OptionCookie or OptionKeepAlive or OptionPadding);
            options = options[(4 + length)..];
        }
        edns = new(record.Start, record.End, record.Class, (byte)(record.Ttl >> 16), (record.Ttl & 0x8000) != 0, own);
        return true;
    }
}
