using System.Buffers.Binary;

namespace VmSidecar.Wire.Protobuf;

/// <summary>Wire types of the protobuf encoding ("Encoding", message structure).</summary>
internal enum ProtoWireType
{
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    StartGroup = 3,
    EndGroup = 4,
    Fixed32 = 5,
}

/// <summary>
/// Walks the fields of one encoded message, front to back, without decoding what nobody asks for. Never throws and never
/// reads past the end: broken input ends the walk and sets <see cref="IsMalformed"/>. Groups (long deprecated, still legal) are skipped as one field.
/// </summary>
internal ref struct ProtoReader(ReadOnlySpan<byte> message)
{
    // Deeper nesting of groups than any real schema has; the limit keeps hostile input from growing the work.
    private const int DeepestGroup = 32;

    private readonly ReadOnlySpan<byte> _message = message;
    private int _at;

    /// <summary>True once the input turned out not to be a message.</summary>
    public bool IsMalformed { get; private set; }

    /// <summary>Field number of the current field.</summary>
    public int Number { get; private set; }

    /// <summary>Wire type of the current field.</summary>
    public ProtoWireType Type { get; private set; }

    /// <summary>Value of a varint or fixed field.</summary>
    public ulong Value { get; private set; }

    /// <summary>Where the current field's tag begins.</summary>
    public int Start { get; private set; }

    /// <summary>Where the current field's payload begins (length-delimited fields).</summary>
    public int BodyStart { get; private set; }

    /// <summary>Where the current field ends.</summary>
    public readonly int End => _at;

    /// <summary>Payload of a length-delimited field; empty for other types.</summary>
    public readonly ReadOnlySpan<byte> Bytes => Type == ProtoWireType.Bytes ? _message[BodyStart.._at] : default;

    /// <summary>The whole current field, tag included.</summary>
    public readonly ReadOnlySpan<byte> Field => _message[Start.._at];

    /// <summary>Moves to the next field. False at the end and on malformed input.</summary>
    public bool Next()
    {
        if (IsMalformed || _at >= _message.Length) { return false; }
        Start = _at;
        BodyStart = _at;
        if (!TryReadTag(out int number, out ProtoWireType type)) { return Fail(); }
        Number = number;
        Type = type;
        return type == ProtoWireType.StartGroup ? TrySkipGroup(number) || Fail() : TryReadValue(type) || Fail();
    }

    /// <summary>True when the current field is length-delimited with this number.</summary>
    public readonly bool Is(int number) => Number == number && Type == ProtoWireType.Bytes;

    private bool TryReadTag(out int number, out ProtoWireType type)
    {
        number = 0;
        type = default;
        if (!TryReadVarint(out ulong tag) || tag > uint.MaxValue) { return false; }
        number = (int)(tag >> 3);
        type = (ProtoWireType)(tag & 7);
        return number > 0;
    }

    private bool TryReadValue(ProtoWireType type)
    {
        Value = 0;
        switch (type)
        {
            case ProtoWireType.Varint:
                if (!TryReadVarint(out ulong varint)) { return false; }
                Value = varint;
                return true;
            case ProtoWireType.Fixed64:
                if (!BinaryPrimitives.TryReadUInt64LittleEndian(_message[_at..], out ulong wide)) { return false; }
                Value = wide;
                _at += sizeof(ulong);
                return true;
            case ProtoWireType.Fixed32:
                if (!BinaryPrimitives.TryReadUInt32LittleEndian(_message[_at..], out uint narrow)) { return false; }
                Value = narrow;
                _at += sizeof(uint);
                return true;
            case ProtoWireType.Bytes:
                if (!TryReadVarint(out ulong length) || length > (ulong)(_message.Length - _at)) { return false; }
                BodyStart = _at;
                _at += (int)length;
                return true;
            default:
                return false; // an end without a start, or a type that does not exist
        }
    }

    private bool TrySkipGroup(int number)
    {
        Span<int> open = stackalloc int[DeepestGroup];
        open[0] = number;
        int depth = 1;
        while (depth > 0)
        {
            if (!TryReadTag(out int inner, out ProtoWireType type)) { return false; }
            switch (type)
            {
                case ProtoWireType.StartGroup:
                    if (depth == DeepestGroup) { return false; }
                    open[depth++] = inner;
                    break;
                case ProtoWireType.EndGroup:
                    if (open[--depth] != inner) { return false; }
                    break;
                default:
                    if (!TryReadValue(type)) { return false; }
                    break;
            }
        }
        Value = 0;
        return true;
    }

    private bool TryReadVarint(out ulong value)
    {
        value = 0;
        for (int shift = 0; shift < 70 && _at < _message.Length; shift += 7) // at most ten bytes
        {
            byte next = _message[_at++];
            value |= (ulong)(next & 0x7F) << shift;
            if (next < 0x80) { return true; }
        }
        return false;
    }

    private bool Fail()
    {
        IsMalformed = true;
        Number = 0;
        Type = default;
        Start = BodyStart = _at;
        return false;
    }
}
