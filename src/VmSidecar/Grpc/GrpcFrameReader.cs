using System.Buffers;

using VmSidecar.Wire.Grpc;

namespace VmSidecar.Grpc;

/// <summary>
/// Cuts one half of a call into messages, each contiguous in a pooled buffer. One per direction; one read at a time. Its state
/// survives a cancelled read, so the next one goes on where it stopped. Throws <see cref="GrpcException"/> for a frame that may not be taken.
/// </summary>
internal sealed class GrpcFrameReader(Stream source, int maxReceive, GrpcStatusCode compressedCode, string? encoding) : IDisposable
{
    // A peer that announces 200 MiB gets this much before it has sent any of it.
    private const int FirstBuffer = 1024 * 1024;

    private readonly byte[] _prefix = new byte[GrpcFrame.PrefixLength];
    private int _prefixLength;
    private byte[]? _body;
    private int _bodyLength;
    private int _expected;

    /// <summary>The next message, or null at the end of the stream between two messages.</summary>
    public async ValueTask<GrpcMessage?> ReadAsync(CancellationToken stop)
    {
        while (_prefixLength < GrpcFrame.PrefixLength)
        {
            int read = await source.ReadAsync(_prefix.AsMemory(_prefixLength), stop);
            if (read == 0) { return _prefixLength == 0 ? null : throw Cut(); }
            _prefixLength += read;
            if (_prefixLength == GrpcFrame.PrefixLength) { Begin(); }
        }
        while (_bodyLength < _expected)
        {
            if (_bodyLength == _body!.Length) { Grow(); }
            int read = await source.ReadAsync(_body.AsMemory(_bodyLength, Math.Min(_body.Length, _expected) - _bodyLength), stop);
            if (read == 0) { throw Cut(); }
            _bodyLength += read;
        }
        var message = new GrpcMessage(_body!, _expected);
        _body = null;
        _prefixLength = 0;
        return message;
    }

    public void Dispose()
    {
        if (_body is { } body)
        {
            _body = null;
            ArrayPool<byte>.Shared.Return(body);
        }
    }

    private void Begin()
    {
        GrpcFrame.TryReadPrefix(_prefix, out byte flag, out uint length);
        if (flag == 1) { throw Compressed(); }
        if (flag != 0) { throw Failed(GrpcStatusCode.Internal, $"received a message with compression flag {flag}; only 0 and 1 exist"); }
        if (length > maxReceive) { throw Failed(GrpcStatusCode.ResourceExhausted, $"received message larger than max ({length} vs. {maxReceive})"); }
        _expected = (int)length;
        _bodyLength = 0;
        _body = ArrayPool<byte>.Shared.Rent(Math.Clamp(_expected, 1, FirstBuffer));
    }

    private void Grow()
    {
        byte[] larger = ArrayPool<byte>.Shared.Rent((int)Math.Min(_expected, 2L * _body!.Length));
        _body.AsSpan(0, _bodyLength).CopyTo(larger);
        ArrayPool<byte>.Shared.Return(_body);
        _body = larger;
    }

    // gRPC "Compression": a flag without an encoding is a broken peer; an encoding we never offered is one we do not implement.
    private GrpcException Compressed() => encoding is null or "identity"
        ? Failed(GrpcStatusCode.Internal, "received a compressed message without a grpc-encoding")
        : Failed(compressedCode, $"received a message compressed with {encoding}; only identity is accepted");

    private static GrpcException Cut() => Failed(GrpcStatusCode.Internal, "the stream ended within a message");

    private static GrpcException Failed(GrpcStatusCode code, string message) => new(new GrpcStatus(code, message));
}
