using System.Buffers.Binary;

namespace VmSidecar.Wire.Dns;

/// <summary>Whole-message operations on answers: bare refusals, fitting somebody else's answer to a client, finding TTLs. Pure; never throws.</summary>
internal static class DnsReply
{
    // what a refusal keeps of the request's flags
    private const int KeptFlags = DnsHeader.OpcodeMask | DnsHeader.RecursionDesired | DnsHeader.CheckingDisabled;

    /// <summary>The bare header that answers a request refused by its header alone. Opcode is kept only for NOTIMP; AA and Z are cleared; other flags stay.</summary>
    public static int WriteHeaderOnly(DnsHeader request, int rcode, Span<byte> reply)
    {
        int flags = request.Flags & ~(DnsHeader.Authoritative | DnsHeader.Zero | DnsHeader.RcodeMask);
        if (rcode == DnsRcode.FormErr) { flags &= ~DnsHeader.OpcodeMask; }
        return new DnsHeader(request.Id, (ushort)(flags | DnsHeader.Response | rcode), 0, 0, 0, 0).TryWrite(reply) ? DnsHeader.Size : 0;
    }

    /// <summary>An answer without records: header, the question when it was read, and OPT when the client sent one and <paramref name="size"/> is not 0.</summary>
    public static int WriteEmpty(ReadOnlySpan<byte> packet, DnsQuery query, int rcode, ushort size, Span<byte> reply)
    {
        int flags = DnsHeader.Response | (query.Header.Flags & KeptFlags) | (rcode & DnsHeader.RcodeMask);
        if (query.Question.End <= DnsHeader.Size)
        {
            return new DnsHeader(query.Header.Id, (ushort)flags, 0, 0, 0, 0).TryWrite(reply) ? DnsHeader.Size : 0;
        }
        var writer = new DnsWriter(reply, packet, query.Question, reply.Length, compress: false);
        if (query.Edns.IsPresent && size > 0) { writer.TryEdns(size, (byte)(rcode >> 4), query.Edns.DnssecOk); }
        return writer.Finish(query.Header.Id, flags);
    }

    /// <summary>
    /// True when <paramref name="reply"/> answers the question of <paramref name="query"/>: a response with the same id, and the same name
    /// (letter case aside), type and class. A failure without any question is taken too: some servers refuse that way.
    /// </summary>
    public static bool Answers(ReadOnlySpan<byte> reply, ReadOnlySpan<byte> query, DnsQuestion asked)
    {
        if (!DnsHeader.TryRead(reply, out DnsHeader header) || !header.IsResponse) { return false; }
        if (header.Id != BinaryPrimitives.ReadUInt16BigEndian(query)) { return false; }
        if (header.Questions == 0) { return header.Rcode is not DnsRcode.NoError and not DnsRcode.NxDomain && header.Answers == 0; }
        if (header.Questions != 1 || reply.Length < asked.End) { return false; }
        for (int i = asked.NameStart; i < asked.End; i++)
        {
            bool inName = i < asked.NameStart + asked.NameLength;
            if (inName ? WireName.Lower(reply[i]) != WireName.Lower(query[i]) : reply[i] != query[i]) { return false; }
        }
        return true;
    }

    /// <summary>True when every record the header announces is there; <paramref name="end"/> is the offset behind the last one. A datagram cut between two records fails here.</summary>
    public static bool IsWhole(ReadOnlySpan<byte> reply, out int end)
    {
        end = 0;
        if (!DnsHeader.TryRead(reply, out DnsHeader header)) { return false; }
        var reader = new DnsReader(reply, DnsHeader.Size);
        for (int i = 0; i < header.Questions; i++)
        {
            if (!reader.TryReadQuestion(out _)) { return false; }
        }
        for (int left = header.Answers + header.Authorities + header.Additionals; left > 0; left--)
        {
            if (!reader.TryReadRecord(out _)) { return false; }
        }
        end = reader.Position;
        return true;
    }

    /// <summary>Makes an answer to one query an answer to another one with the same question: the id and the letters of the name are the client's.</summary>
    public static void Readdress(Span<byte> reply, ReadOnlySpan<byte> query, DnsQuestion question)
    {
        if (reply.Length < question.End) { query[..2].CopyTo(reply); return; }
        query[..2].CopyTo(reply);
        if (BinaryPrimitives.ReadUInt16BigEndian(reply[4..]) == 1) { query[DnsHeader.Size..(DnsHeader.Size + question.NameLength)].CopyTo(reply[DnsHeader.Size..]); }
    }

    /// <summary>
    /// Cuts a whole message in place to <paramref name="limit"/> bytes at a record boundary and sets TC (RFC 2181 §9). Pointers only point
    /// back, so what stays is readable; OPT, which is last by custom, is kept. Returns the new length.
    /// </summary>
    public static int Fit(Span<byte> reply, int limit)
    {
        if (reply.Length <= limit || !DnsHeader.TryRead(reply, out DnsHeader header)) { return Math.Min(reply.Length, limit); }
        DnsRecord edns = FindEdns(reply, header);
        int room = limit - (edns.End > 0 ? edns.End - edns.Start : 0);
        var reader = new DnsReader(reply, DnsHeader.Size);
        int end = DnsHeader.Size;
        for (int i = 0; i < header.Questions && reader.TryReadQuestion(out DnsQuestion question); i++) { end = question.End; }
        if (end > limit) { return WriteHeaderOnly(header with { Flags = (ushort)(header.Flags | DnsHeader.Truncated) }, header.Rcode, reply); } // no client takes less than a question
        Span<ushort> kept = [0, 0, 0];
        ReadOnlySpan<ushort> counts = [header.Answers, header.Authorities, header.Additionals];
        bool full = false;
        for (int section = 0; section < 3 && !full; section++)
        {
            for (int i = 0; i < counts[section]; i++)
            {
                if (!reader.TryReadRecord(out DnsRecord record) || record.End > room || record.Type == DnsType.OPT) { full = true; break; }
                kept[section]++;
                end = record.End;
            }
        }
        if (edns.End > 0 && end + edns.End - edns.Start <= limit)
        {
            reply[edns.Start..edns.End].CopyTo(reply[end..]); // forward copy to a lower offset: CopyTo handles overlap
            end += edns.End - edns.Start;
            kept[2]++;
        }
        new DnsHeader(header.Id, (ushort)(header.Flags | DnsHeader.Truncated), header.Questions, kept[0], kept[1], kept[2]).TryWrite(reply);
        return end;
    }

    private static DnsRecord FindEdns(ReadOnlySpan<byte> reply, DnsHeader header)
    {
        var reader = new DnsReader(reply, DnsHeader.Size);
        for (int i = 0; i < header.Questions; i++) { reader.TryReadQuestion(out _); }
        int left = header.Answers + header.Authorities + header.Additionals;
        while (left-- > 0 && reader.TryReadRecord(out DnsRecord record))
        {
            if (record.Type == DnsType.OPT && left < header.Additionals) { return record; }
        }
        return default;
    }
}
