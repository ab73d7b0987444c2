using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace VmSidecar.Wire.Protobuf;

/// <summary>Appends protobuf fields to a growing buffer: the counterpart of <see cref="ProtoReader"/> for the few messages the agent makes itself.</summary>
internal sealed class ProtoWriter
{
    private readonly ArrayBufferWriter<byte> _out;

    public ProtoWriter() => _out = new();

    /// <summary>With room for so many bytes from the start.</summary>
    public ProtoWriter(int capacity) => _out = new(Math.Max(capacity, 1));

    /// <summary>What was written so far. Valid until the next write.</summary>
    public ReadOnlyMemory<byte> Written => _out.WrittenMemory;

    /// <summary>Copies what was written.</summary>
    public byte[] ToArray() => _out.WrittenSpan.ToArray();

    /// <summary>A string field; an empty string is left out, as proto3 does.</summary>
    public ProtoWriter String(int number, string value)
    {
        if (value.Length == 0) { return this; }
        int length = Encoding.UTF8.GetByteCount(value);
        Tag(number, ProtoWireType.Bytes);
        Raw((ulong)length);
        _out.Advance(Encoding.UTF8.GetBytes(value, _out.GetSpan(length)));
        return this;
    }

    /// <summary>A length-delimited field: bytes or an encoded message. Written also when empty: presence matters for messages.</summary>
    public ProtoWriter Bytes(int number, ReadOnlySpan<byte> value)
    {
        Tag(number, ProtoWireType.Bytes);
        Raw((ulong)value.Length);
        return Append(value);
    }

    /// <summary>The beginning of a length-delimited field whose content of this length, bytes, is written elsewhere.</summary>
    public ProtoWriter Tag(int number, int length)
    {
        Tag(number, ProtoWireType.Bytes);
        Raw((ulong)length);
        return this;
    }

    /// <summary>A message field built by <paramref name="inner"/>.</summary>
    public ProtoWriter Message(int number, ProtoWriter inner) => Bytes(number, inner._out.WrittenSpan);

    /// <summary>A varint field, written also when zero.</summary>
    public ProtoWriter Varint(int number, ulong value)
    {
        Tag(number, ProtoWireType.Varint);
        Raw(value);
        return this;
    }

    /// <summary>A double field.</summary>
    public ProtoWriter Double(int number, double value)
    {
        Tag(number, ProtoWireType.Fixed64);
        BinaryPrimitives.WriteDoubleLittleEndian(_out.GetSpan(sizeof(double)), value);
        _out.Advance(sizeof(double));
        return this;
    }

    /// <summary>Bytes as they are: whole fields copied from another message.</summary>
    public ProtoWriter Append(ReadOnlySpan<byte> encoded)
    {
        _out.Write(encoded);
        return this;
    }

    private void Tag(int number, ProtoWireType type) => Raw(((ulong)number << 3) | (ulong)type);

    private void Raw(ulong value)
    {
        Span<byte> to = _out.GetSpan(10);
        int length = 0;
        while (value >= 0x80)
        {
            to[length++] = (byte)(value | 0x80);
            value >>= 7;
        }
        to[length++] = (byte)value;
        _out.Advance(length);
    }
}
