using VmSidecar.Linux.Memory;

namespace VmSidecar.Grpc;

/// <summary>Bytes in blocks outside the managed heap, in order, growing at the end. One owner, one writer; Dispose frees.</summary>
internal sealed class PieceList : IDisposable
{
    private List<NativeBlock> _blocks = [];
    private int _inLast; // bytes used of the last block

    /// <summary>Bytes held.</summary>
    public int Length => _blocks.Count == 0 ? 0 : ((_blocks.Count - 1) * NativeBlock.Size) + _inLast;

    /// <summary>The pieces, none empty.</summary>
    public IEnumerable<ReadOnlyMemory<byte>> Pieces =>
        _blocks.Select((block, i) => (ReadOnlyMemory<byte>)(i == _blocks.Count - 1 ? block.Memory[.._inLast] : block.Memory)).Where(p => !p.IsEmpty);

    /// <summary>Room at the end, never empty; <see cref="Advance"/> says how much of it was filled.</summary>
    public Memory<byte> Room()
    {
        if (_blocks.Count == 0 || _inLast == NativeBlock.Size)
        {
            _blocks.Add(NativeBlock.Rent());
            _inLast = 0;
        }
        return _blocks[^1].Memory[_inLast..];
    }

    /// <summary>So many bytes of <see cref="Room"/> are content now.</summary>
    public void Advance(int count) => _inLast += count;

    /// <summary>Copies bytes to the end.</summary>
    public void Append(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            Span<byte> room = Room().Span;
            int taken = Math.Min(room.Length, bytes.Length);
            bytes[..taken].CopyTo(room);
            Advance(taken);
            bytes = bytes[taken..];
        }
    }

    /// <summary>Forgets the content; the first block stays for what comes next.</summary>
    public void Clear()
    {
        for (int i = _blocks.Count - 1; i > 0; i--)
        {
            _blocks[i].Free();
            _blocks.RemoveAt(i);
        }
        _inLast = 0;
    }

    /// <summary>The last bytes; all of one <see cref="Advance"/> are together.</summary>
    public ReadOnlyMemory<byte> Last(int count) => _blocks[^1].Memory.Slice(_inLast - count, count);

    /// <summary>Gives the content away; the list is empty afterwards.</summary>
    public PieceList Take()
    {
        var taken = new PieceList { _blocks = _blocks, _inLast = _inLast };
        (_blocks, _inLast) = ([], 0);
        return taken;
    }

    /// <summary>Gives the content away as a message; the list is empty afterwards.</summary>
    public GrpcMessage Move() => new(Take());

    /// <summary>Copies the content out and frees each block once it is copied, so that the memory holds it once; the list is empty afterwards.</summary>
    public void MoveTo(Span<byte> destination)
    {
        for (int i = 0; i < _blocks.Count; i++)
        {
            Span<byte> block = _blocks[i].GetSpan()[..(i == _blocks.Count - 1 ? _inLast : NativeBlock.Size)];
            block.CopyTo(destination);
            destination = destination[block.Length..];
            _blocks[i].Free();
        }
        (_blocks, _inLast) = ([], 0);
    }

    public void Dispose()
    {
        foreach (NativeBlock block in _blocks) { block.Free(); }
        _blocks.Clear();
        _inLast = 0;
    }
}
