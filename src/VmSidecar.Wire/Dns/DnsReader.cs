using System.Buffers.Binary;

namespace VmSidecar.Wire.Dns;

/// <summary>Reads a message front to back. Every read returns false past the end or on bad structure, and then nothing more can be read; nothing throws or allocates.</summary>
internal ref struct DnsReader(ReadOnlySpan<byte> packet, int position = 0)
{
    // 255 bytes hold at most 127 labels; more jumps than that can only be a trap
    private const int MaxJumps = 127;

    private readonly ReadOnlySpan<byte> _packet = packet;

    /// <summary>Offset of the next byte to read.</summary>
    public int Position { get; private set; } = position;

    /// <summary>Reads the question at the current position; its name must be uncompressed, as nothing before it could be pointed to.</summary>
    public bool TryReadQuestion(out DnsQuestion question)
    {
        question = default;
        int start = Position, at = Position;
        while (true)
        {
            if (at >= _packet.Length || _packet[at] > WireName.MaxLabel) { return Fail(); }
            int label = _packet[at];
            at += label + 1;
            if (at - start > WireName.MaxLength) { return Fail(); }
            if (label == 0) { break; }
        }
        if (at + 4 > _packet.Length) { return Fail(); }
        Position = at + 4;
        question = new(start, at - start, BinaryPrimitives.ReadUInt16BigEndian(_packet[at..]), BinaryPrimitives.ReadUInt16BigEndian(_packet[(at + 2)..]));
        return true;
    }

    /// <summary>Reads one resource record: owner skipped, fixed part and the place of its data returned (RFC 1035 §4.1.3).</summary>
    public bool TryReadRecord(out DnsRecord record)
    {
        record = default;
        int start = Position;
        if (!TrySkipName() || Position + 10 > _packet.Length) { return Fail(); }
        int at = Position;
        int length = BinaryPrimitives.ReadUInt16BigEndian(_packet[(at + 8)..]);
        if (at + 10 + length > _packet.Length) { return Fail(); }
        Position = at + 10 + length;
        record = new(start, at, at + 10, length,
            BinaryPrimitives.ReadUInt16BigEndian(_packet[at..]), BinaryPrimitives.ReadUInt16BigEndian(_packet[(at + 2)..]), BinaryPrimitives.ReadUInt32BigEndian(_packet[(at + 4)..]));
        return true;
    }

    /// <summary>Moves past a name; the target of a compression pointer must lie before it (RFC 1035 §4.1.4).</summary>
    public bool TrySkipName()
    {
        int start = Position, at = Position;
        while (at < _packet.Length)
        {
            byte label = _packet[at];
            if (label == 0) { Position = at + 1; return true; }
            if (label >= 0xc0)
            {
                if (at + 2 > _packet.Length || Target(at) >= at) { return Fail(); }
                Position = at + 2;
                return true;
            }
            at += label + 1;
            if (label > WireName.MaxLabel || at - start >= WireName.MaxLength) { return Fail(); }
        }
        return Fail();
    }

    /// <summary>Reads a name, compression resolved, into <paramref name="name"/> (255 bytes suffice).</summary>
    public bool TryReadName(scoped Span<byte> name, out int written)
    {
        written = 0;
        int at = Position, end = -1;
        for (int jumps = 0; at < _packet.Length;)
        {
            byte label = _packet[at];
            if (label >= 0xc0)
            {
                if (at + 2 > _packet.Length || Target(at) >= at || ++jumps > MaxJumps) { return Fail(); }
                if (end < 0) { end = at + 2; }
                at = Target(at);
                continue;
            }
            if (label > WireName.MaxLabel || at + 1 + label > _packet.Length || written + label + 1 > Math.Min(name.Length, WireName.MaxLength)) { return Fail(); }
            _packet.Slice(at, label + 1).CopyTo(name[written..]);
            written += label + 1;
            at += label + 1;
            if (label == 0) { Position = end < 0 ? at : end; return true; }
        }
        return Fail();
    }

    private readonly int Target(int at) => BinaryPrimitives.ReadUInt16BigEndian(_packet[at..]) & 0x3fff;

    private bool Fail()
    {
        Position = _packet.Length;
        return false;
    }
}

/// <summary>Where the question lies in its message: the name at <c>NameStart</c>, uncompressed.</summary>
internal readonly record struct DnsQuestion(int NameStart, int NameLength, ushort Type, ushort Class)
{
    /// <summary>Offset behind the question.</summary>
    public int End => NameStart + NameLength + 4;
}

/// <summary>Where a record lies in its message, and its fixed part. <c>FixedStart</c> is the offset of the type.</summary>
internal readonly record struct DnsRecord(int Start, int FixedStart, int DataStart, int DataLength, ushort Type, ushort Class, uint Ttl)
{
    /// <summary>Offset behind the record.</summary>
    public int End => DataStart + DataLength;

    /// <summary>Offset of the TTL.</summary>
    public int TtlStart => FixedStart + 4;
}
