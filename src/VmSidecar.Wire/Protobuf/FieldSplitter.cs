using System.Buffers;

namespace VmSidecar.Wire.Protobuf;

/// <summary>
/// Cuts one encoded message of known length into its fields while it arrives in pieces, the counterpart of <see cref="ProtoReader"/> for a message that
/// is not there as a whole. A wanted field that lies within one piece is not copied. Never throws on input: broken input makes
/// <see cref="Feed"/> false, for good. Groups pass as they are. One per message; Dispose frees the scratch buffer.
/// </summary>
internal sealed class FieldSplitter(IFieldVisitor visitor, int length) : IDisposable
{
    private const int LongestVarint = 10; // bytes
    private const int DeepestGroup = 32;  // as ProtoReader
    private const int FirstScratch = 16 * 1024;

    private readonly byte[] _head = new byte[2 * LongestVarint]; // tag, then length or value, of the field at hand
    private readonly Stack<int> _groups = new();
    private int _headLength;
    private int _tagLength;  // 0 until the tag is whole
    private readonly int _length = length;
    private int _left = length; // bytes of the message not yet seen
    private int _payload;    // bytes of the field's payload not yet seen; they follow the head
    private bool _gathering;
    private byte[] _scratch = [];
    private int _scratchLength;
    private bool _broken;

    /// <summary>True when the whole message was seen and ended where a field ends.</summary>
    public bool IsComplete => !_broken && _left == 0 && _headLength == 0 && _payload == 0 && _groups.Count == 0;

    /// <summary>Takes the next bytes. False when the message is malformed.</summary>
    public bool Feed(ReadOnlySpan<byte> piece)
    {
        if (piece.Length > _left) { _broken = true; }
        _left -= piece.Length;
        while (!piece.IsEmpty && !_broken)
        {
            int taken = _payload > 0 ? TakePayload(piece) : TakeField(piece);
            piece = piece[taken..];
        }
        return !_broken;
    }

    public void Dispose()
    {
        if (_scratch.Length > 0) { ArrayPool<byte>.Shared.Return(_scratch); }
        _scratch = [];
    }

    /// <summary>A field's head, and the whole field where it lies in this piece.</summary>
    private int TakeField(ReadOnlySpan<byte> piece)
    {
        bool whole = _headLength == 0; // the head begins in this piece
        int at = 0;
        while (at < piece.Length && !_broken)
        {
            if (!TakeHead(piece[at++])) { continue; }
            int number = Number;
            _gathering = _payload >= 0 && IsBytes && _groups.Count == 0 && visitor.Wants(number);
            if (_gathering && whole && piece.Length - at >= _payload)
            {
                int end = at + _payload;
                _broken |= !visitor.Field(number, piece[..end], at);
                EndField();
                return end;
            }
            if (_gathering) { BeginGathering(); }
            else { visitor.Raw(_head.AsSpan(0, _headLength)); }
            if (_payload == 0) { FinishPayload(); }
            return at;
        }
        return at;
    }

    /// <summary>Takes one byte of tag, length or value. True when the head is whole; then <see cref="_payload"/> is known.</summary>
    private bool TakeHead(byte next)
    {
        _head[_headLength++] = next;
        int length = _headLength - _tagLength;
        if (next >= 0x80)
        {
            _broken = length >= LongestVarint;
            return false;
        }
        if (_tagLength > 0) { return TakeSecond(Varint(_head.AsSpan(_tagLength, length))); }
        ulong tag = Varint(_head.AsSpan(0, length));
        if (tag > uint.MaxValue || tag >> 3 == 0)
        {
            _broken = true;
            return false;
        }
        _tagLength = _headLength;
        return TakeTag((ProtoWireType)(tag & 7));
    }

    private bool TakeTag(ProtoWireType type)
    {
        switch (type)
        {
            case ProtoWireType.Varint or ProtoWireType.Bytes:
                return false; // another varint follows
            case ProtoWireType.Fixed64 or ProtoWireType.Fixed32:
                return SetPayload(type == ProtoWireType.Fixed64 ? 8ul : 4ul);
            case ProtoWireType.StartGroup when _groups.Count < DeepestGroup:
                _groups.Push(Number);
                return SetPayload(0);
            case ProtoWireType.EndGroup when _groups.TryPop(out int open) && open == Number:
                return SetPayload(0);
            default:
                _broken = true;
                return false;
        }
    }

    private bool TakeSecond(ulong value) => SetPayload(IsBytes ? value : 0);

    // The bytes of this piece after the head are still in the message: they are counted in _left as seen, so the bound is the message's own length.
    private bool SetPayload(ulong bytes)
    {
        if (bytes > (ulong)_length)
        {
            _broken = true;
            return false;
        }
        _payload = (int)bytes;
        return true;
    }

    private int TakePayload(ReadOnlySpan<byte> piece)
    {
        int taken = Math.Min(piece.Length, _payload);
        if (_gathering) { Gather(piece[..taken]); }
        else { visitor.Raw(piece[..taken]); }
        _payload -= taken;
        if (_payload == 0) { FinishPayload(); }
        return taken;
    }

    private void FinishPayload()
    {
        if (_gathering) { _broken |= !visitor.Field(Number, _scratch.AsSpan(0, _scratchLength), _headLength); }
        EndField();
    }

    private void EndField()
    {
        _headLength = _tagLength = _payload = _scratchLength = 0;
        _gathering = false;
    }

    private void BeginGathering()
    {
        _scratchLength = 0;
        Gather(_head.AsSpan(0, _headLength));
    }

    // Grows with what has arrived, not with what was announced.
    private void Gather(ReadOnlySpan<byte> bytes)
    {
        int needed = _scratchLength + bytes.Length;
        if (needed > _scratch.Length)
        {
            byte[] larger = ArrayPool<byte>.Shared.Rent(Math.Max(Math.Max(FirstScratch, needed), (int)Math.Min(2L * _scratch.Length, Array.MaxLength)));
            _scratch.AsSpan(0, _scratchLength).CopyTo(larger);
            Dispose();
            _scratch = larger;
        }
        bytes.CopyTo(_scratch.AsSpan(_scratchLength));
        _scratchLength = needed;
    }

    private int Number => (int)(Varint(_head.AsSpan(0, _tagLength)) >> 3);

    private bool IsBytes => (ProtoWireType)(_head[0] & 7) == ProtoWireType.Bytes;

    private static ulong Varint(ReadOnlySpan<byte> bytes)
    {
        ulong value = 0;
        for (int i = 0; i < bytes.Length; i++) { value |= (ulong)(bytes[i] & 0x7F) << (7 * i); }
        return value;
    }
}
