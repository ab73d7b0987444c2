using System.Buffers.Binary;
using System.Runtime.CompilerServices;

namespace VmSidecar.Wire.Dns;

/// <summary>
/// Writes one message into a span the caller owns. A write that does not fit returns false and leaves the message as it was, so a
/// caller can cut at a record boundary. Counts are kept here and put into the header by <see cref="Finish"/>.
/// </summary>
internal ref struct DnsWriter
{
    private const int MaxPointer = 0x3fff; // 14 bits, RFC 1035 §4.1.4
    private const int MaxTargets = 32;     // label starts remembered for compression; later ones are simply not pointed to

    private readonly Span<byte> _packet;
    private readonly bool _compress;
    private readonly int _limit;
    private Targets _targets;
    private int _targetCount;
    private ushort _answers, _authorities, _additionals;
    private bool _truncated;

    /// <summary>Starts a message with the question of <paramref name="query"/> copied byte for byte; <paramref name="limit"/> is the most it may grow to.</summary>
    public DnsWriter(Span<byte> packet, ReadOnlySpan<byte> query, DnsQuestion question, int limit, bool compress)
    {
        _packet = packet;
        _limit = Math.Min(limit, packet.Length);
        _compress = compress;
        query[DnsHeader.Size..question.End].CopyTo(packet[DnsHeader.Size..]);
        Position = DnsHeader.Size;
        if (compress) { Remember(Position, question.NameLength); }
        Position = question.End;
    }

    /// <summary>Bytes written so far.</summary>
    public int Position { get; private set; }

    public readonly bool IsTruncated => _truncated;

    /// <summary>Says that records were left out.</summary>
    public void MarkTruncated() => _truncated = true;

    /// <summary>Writes a record whose data are plain bytes into the answer section; <paramref name="reserve"/> bytes of the limit stay free.</summary>
    public bool TryAnswer(scoped ReadOnlySpan<byte> owner, ushort type, uint ttl, scoped ReadOnlySpan<byte> data, int reserve)
    {
        int start = Position;
        if (!TryHead(owner, type, DnsClass.IN, ttl, out int lengthAt) || Position + data.Length > _limit - reserve) { return Undo(start); }
        data.CopyTo(_packet[Position..]);
        Position += data.Length;
        Close(lengthAt);
        _answers++;
        return true;
    }

    /// <summary>Writes a CNAME into the answer section.</summary>
    public bool TryAlias(scoped ReadOnlySpan<byte> owner, uint ttl, scoped ReadOnlySpan<byte> target, int reserve) =>
        TryNameRecord(owner, DnsType.CNAME, ttl, [], target, reserve);

    /// <summary>Writes a record whose data end in a name (CNAME, PTR) or have fixed bytes before it (SRV).</summary>
    public bool TryNameRecord(scoped ReadOnlySpan<byte> owner, ushort type, uint ttl, scoped ReadOnlySpan<byte> before, scoped ReadOnlySpan<byte> target, int reserve)
    {
        int start = Position;
        if (!TryHead(owner, type, DnsClass.IN, ttl, out int lengthAt) || Position + before.Length > _limit) { return Undo(start); }
        before.CopyTo(_packet[Position..]);
        Position += before.Length;
        // SRV targets are not compressed (RFC 2782)
        bool written = type == DnsType.SRV ? TryPlainName(target) : TryName(target);
        if (!written || Position > _limit - reserve) { return Undo(start); }
        Close(lengthAt);
        _answers++;
        return true;
    }

    /// <summary>Writes a SOA into the authority section, so that resolvers may remember that there is nothing (RFC 2308 §3).</summary>
    public bool TryAuthority(scoped ReadOnlySpan<byte> zone, scoped ReadOnlySpan<byte> server, uint ttl, int reserve)
    {
        int start = Position;
        if (!TryHead(zone, DnsType.SOA, DnsClass.IN, ttl, out int lengthAt) || !TryName(server) || !TryName(server) || Position + 20 > _limit - reserve) { return Undo(start); }
        ReadOnlySpan<uint> numbers = [1, 3600, 600, 86400, ttl]; // serial, refresh, retry, expire, minimum
        foreach (uint number in numbers)
        {
            BinaryPrimitives.WriteUInt32BigEndian(_packet[Position..], number);
            Position += sizeof(uint);
        }
        Close(lengthAt);
        _authorities++;
        return true;
    }

    /// <summary>Writes an OPT record without options (RFC 6891 §6.1.2); its eleven bytes should have been reserved.</summary>
    public bool TryEdns(ushort size, byte extendedRcode, bool dnssecOk)
    {
        int start = Position;
        if (!TryHead([0], DnsType.OPT, size, ((uint)extendedRcode << 24) | (dnssecOk ? 0x8000u : 0), out int lengthAt)) { return Undo(start); }
        Close(lengthAt);
        _additionals++;
        return true;
    }

    /// <summary>Puts the header in and returns the length of the message.</summary>
    public readonly int Finish(ushort id, int flags)
    {
        int word = flags | (_truncated ? DnsHeader.Truncated : 0);
        new DnsHeader(id, (ushort)word, 1, _answers, _authorities, _additionals).TryWrite(_packet);
        return Position;
    }

    private bool TryHead(scoped ReadOnlySpan<byte> owner, ushort type, ushort @class, uint ttl, out int lengthAt)
    {
        lengthAt = 0;
        if (!TryName(owner) || Position + 10 > _limit) { return false; }
        BinaryPrimitives.WriteUInt16BigEndian(_packet[Position..], type);
        BinaryPrimitives.WriteUInt16BigEndian(_packet[(Position + 2)..], @class);
        BinaryPrimitives.WriteUInt32BigEndian(_packet[(Position + 4)..], ttl);
        lengthAt = Position + 8;
        Position += 10;
        return true;
    }

    private readonly void Close(int lengthAt) => BinaryPrimitives.WriteUInt16BigEndian(_packet[lengthAt..], (ushort)(Position - lengthAt - 2));

    private bool TryName(scoped ReadOnlySpan<byte> name)
    {
        if (!_compress || name.Length <= 2) { return TryPlainName(name); }
        int start = Position;
        for (int at = 0; name[at] != 0; at += name[at] + 1)
        {
            int target = Find(name[at..]);
            if (target < 0) { continue; }
            if (Position + at + 2 > _limit) { return false; }
            name[..at].CopyTo(_packet[Position..]);
            BinaryPrimitives.WriteUInt16BigEndian(_packet[(Position + at)..], (ushort)(0xc000 | target));
            Position += at + 2;
            Remember(start, at);
            return true;
        }
        if (!TryPlainName(name)) { return false; }
        Remember(start, name.Length);
        return true;
    }

    private bool TryPlainName(scoped ReadOnlySpan<byte> name)
    {
        if (Position + name.Length > _limit) { return false; }
        name.CopyTo(_packet[Position..]);
        Position += name.Length;
        return true;
    }

    /// <summary>Offset of an earlier name with exactly these bytes, letter case included: a pointer must not change how an owner reads.</summary>
    private readonly int Find(ReadOnlySpan<byte> name)
    {
        for (int i = 0; i < _targetCount; i++)
        {
            if (Matches(_targets[i], name)) { return _targets[i]; }
        }
        return -1;
    }

    private readonly bool Matches(int offset, ReadOnlySpan<byte> name)
    {
        while (true)
        {
            byte label = _packet[offset];
            if (label >= 0xc0) { offset = BinaryPrimitives.ReadUInt16BigEndian(_packet[offset..]) & MaxPointer; continue; }
            if (label != name[0]) { return false; }
            if (label == 0) { return true; }
            if (!_packet.Slice(offset + 1, label).SequenceEqual(name.Slice(1, label))) { return false; }
            offset += label + 1;
            name = name[(label + 1)..];
        }
    }

    /// <summary>Takes back a record that did not fit, with the names remembered from it.</summary>
    private bool Undo(int start)
    {
        Position = start;
        while (_targetCount > 0 && _targets[_targetCount - 1] >= start) { _targetCount--; }
        return false;
    }

    /// <summary>Remembers the label starts in <paramref name="length"/> bytes from <paramref name="start"/>.</summary>
    private void Remember(int start, int length)
    {
        for (int at = start; at < start + length && _packet[at] is > 0 and < 0xc0 && at <= MaxPointer && _targetCount < MaxTargets; at += _packet[at] + 1)
        {
            _targets[_targetCount++] = (ushort)at;
        }
    }

    [InlineArray(MaxTargets)]
    private struct Targets
    {
        private ushort _first;
    }
}
