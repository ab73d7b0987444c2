using System.Buffers;

using VmSidecar.Linux.Memory;

namespace VmSidecar.Grpc;

/// <summary>
/// One received message: a small one in a pooled array, a large one outside the managed heap, in pieces (<see cref="PieceList"/>) or, once asked for, in one. Whoever receives it disposes
/// it; after that its content must not be touched.
/// </summary>
internal sealed class GrpcMessage : IPieces
{
    private byte[]? _array;
    private PieceList? _pieces;
    private MappedMemory? _joined;
    private ReceiveBudget? _budget;
    private long _paid;

    /// <summary>Takes a pooled array over.</summary>
    public GrpcMessage(byte[] rented, int length) => (_array, Length) = (rented, length);

    /// <summary>Takes pieces over.</summary>
    public GrpcMessage(PieceList pieces) => (_pieces, Length) = (pieces, pieces.Length);

    /// <summary>Bytes, without the five of the gRPC prefix.</summary>
    public int Length { get; }

    /// <summary>The message in one piece. That of a large one is put together at the first use: ask for <see cref="Pieces"/> where pieces will do.</summary>
    public ReadOnlyMemory<byte> Body
    {
        get
        {
            if (_pieces is { } pieces) { return Join(pieces); }
            return _joined?.Memory ?? (_array ?? throw new ObjectDisposedException(nameof(GrpcMessage))).AsMemory(0, Length);
        }
    }

    /// <summary>The message in its pieces, in order; one empty piece for an empty message.</summary>
    public IEnumerable<ReadOnlyMemory<byte>> Pieces => _pieces is { } pieces ? pieces.Pieces : [Body];

    public Task Ready => Task.CompletedTask;

    /// <summary>Copies bytes into a new pooled message.</summary>
    public static GrpcMessage Copy(ReadOnlySpan<byte> bytes)
    {
        byte[] rented = ArrayPool<byte>.Shared.Rent(Math.Max(bytes.Length, 1));
        bytes.CopyTo(rented);
        return new GrpcMessage(rented, bytes.Length);
    }

    /// <summary>What it has cost goes back to the budget with it.</summary>
    public void ReturnTo(ReceiveBudget budget, long paid) => (_budget, _paid) = (budget, paid);

    public void Dispose()
    {
        Interlocked.Exchange(ref _budget, null)?.Return(_paid);
        Interlocked.Exchange(ref _pieces, null)?.Dispose();
        Interlocked.Exchange(ref _joined, null)?.Free();
        if (Interlocked.Exchange(ref _array, null) is { } array) { ArrayPool<byte>.Shared.Return(array); }
    }

    // Neither pooled nor on the managed heap: a pool would keep the largest message ever seen, and the collector would stop every thread for it.
    private Memory<byte> Join(PieceList pieces)
    {
        if (Length == 0) { return Memory<byte>.Empty; }
        var whole = new MappedMemory(Length);
        pieces.MoveTo(whole.GetSpan());
        (_joined, _pieces) = (whole, null);
        return whole.Memory;
    }
}
