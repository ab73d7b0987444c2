using System.Buffers;

using VmSidecar.Linux.Memory;
using VmSidecar.Wire.Grpc;

namespace VmSidecar.Grpc;

/// <summary>
/// Cuts one half of a call into messages: whole (<see cref="ReadAsync"/>), or as they arrive (<see cref="BeginAsync"/>, then <see cref="ReadPieceAsync"/>
/// until its length is there). One per direction; one read at a time. Its state survives a cancelled read, so the next one goes on
/// where it stopped. Throws <see cref="GrpcException"/> for a frame that may not be taken. What it gathers comes out of the budget, if there is one, until the message is disposed.
/// </summary>
internal sealed class GrpcFrameReader(Stream source, int maxReceive, GrpcStatusCode compressedCode, string? encoding, ReceiveBudget? budget = null) : IDisposable
{
    private readonly byte[] _prefix = new byte[GrpcFrame.PrefixLength];
    private int _prefixLength;
    private int _expected; // length of the message at hand, once its prefix is there
    private int _received; // bytes of it handed out or gathered
    private byte[]? _small;
    private PieceList? _large; // a peer that announces 200 MiB gets one block before it has sent any of it
    private long _paid;        // taken from the budget for the message that is gathered

    /// <summary>The next message, or the one begun, whole; null at the end of the stream between two messages.</summary>
    public async ValueTask<GrpcMessage?> ReadAsync(CancellationToken stop)
    {
        if (await BeginAsync(stop) < 0) { return null; }
        if (_expected > NativeBlock.Size) { return await ReadLargeAsync(stop); }
        if (_small is null)
        {
            Pay(ReceiveBudget.PerMessage + _expected);
            _small = ArrayPool<byte>.Shared.Rent(Math.Max(_expected, 1));
        }
        while (_received < _expected) { await ReadPieceAsync(_small.AsMemory(_received), stop); }
        var message = new GrpcMessage(_small, _expected);
        _small = null;
        return Done(message);
    }

    /// <summary>The length of the next message, or of the one begun; -1 at the end of the stream between two messages.</summary>
    public async ValueTask<int> BeginAsync(CancellationToken stop)
    {
        while (_prefixLength < GrpcFrame.PrefixLength)
        {
            int read = await source.ReadAsync(_prefix.AsMemory(_prefixLength), stop);
            if (read == 0) { return _prefixLength == 0 ? -1 : throw Cut(); }
            _prefixLength += read;
            if (_prefixLength == GrpcFrame.PrefixLength) { Begin(); }
        }
        return _expected;
    }

    /// <summary>What has arrived of the message begun, into the buffer: its next bytes, at least one while any is missing. After the last one the message is done.</summary>
    public async ValueTask<int> ReadPieceAsync(Memory<byte> buffer, CancellationToken stop)
    {
        int most = Math.Min(buffer.Length, _expected - _received);
        int read = most == 0 ? 0 : await source.ReadAsync(buffer[..most], stop);
        if (read == 0 && most > 0) { throw Cut(); }
        _received += read;
        if (_received == _expected && _small is null && _large is null) { _prefixLength = 0; } // nobody gathers it: done
        return read;
    }

    public void Dispose()
    {
        _large?.Dispose();
        _large = null;
        if (_small is { } small)
        {
            _small = null;
            ArrayPool<byte>.Shared.Return(small);
        }
        budget?.Return(Interlocked.Exchange(ref _paid, 0));
    }

    private async ValueTask<GrpcMessage> ReadLargeAsync(CancellationToken stop)
    {
        _large ??= new PieceList();
        while (_received < _expected)
        {
            if (_large.Length == _paid) { Pay(NativeBlock.Size); } // the next block
            _large.Advance(await ReadPieceAsync(_large.Room(), stop));
        }
        var message = new GrpcMessage(_large);
        _large = null;
        return Done(message);
    }

    private GrpcMessage Done(GrpcMessage message)
    {
        if (budget is not null) { message.ReturnTo(budget, Interlocked.Exchange(ref _paid, 0)); }
        _prefixLength = 0;
        return message;
    }

    private void Pay(long bytes)
    {
        budget?.Take(bytes);
        _paid += bytes;
    }

    private void Begin()
    {
        GrpcFrame.TryReadPrefix(_prefix, out byte flag, out uint length);
        if (flag == 1) { throw Compressed(); }
        if (flag != 0) { throw Failed(GrpcStatusCode.Internal, $"received a message with compression flag {flag}; only 0 and 1 exist"); }
        if (length > maxReceive) { throw Failed(GrpcStatusCode.ResourceExhausted, $"received message larger than max ({length} vs. {maxReceive})"); }
        _expected = (int)length;
        _received = 0;
    }

    // gRPC "Compression": a flag without an encoding is a broken peer; an encoding we never offered is one we do not implement.
    private GrpcException Compressed() => encoding is null or "identity"
        ? Failed(GrpcStatusCode.Internal, "received a compressed message without a grpc-encoding")
        : Failed(compressedCode, $"received a message compressed with {encoding}; only identity is accepted");

    private static GrpcException Cut() => Failed(GrpcStatusCode.Internal, "the stream ended within a message");

    private static GrpcException Failed(GrpcStatusCode code, string message) => new(new GrpcStatus(code, message));
}
