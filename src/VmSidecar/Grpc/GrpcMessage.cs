using System.Buffers;

namespace VmSidecar.Grpc;

/// <summary>One received message in a pooled buffer. Whoever receives it disposes it; after that <see cref="Body"/> must not be touched.</summary>
internal sealed class GrpcMessage(byte[] rented, int length) : IDisposable
{
    private byte[]? _rented = rented;

    /// <summary>The message without the five bytes of the gRPC prefix.</summary>
    public ReadOnlyMemory<byte> Body => (_rented ?? throw new ObjectDisposedException(nameof(GrpcMessage))).AsMemory(0, length);

    /// <summary>Copies bytes into a new pooled message.</summary>
    public static GrpcMessage Copy(ReadOnlySpan<byte> bytes)
    {
        byte[] rented = ArrayPool<byte>.Shared.Rent(Math.Max(bytes.Length, 1));
        bytes.CopyTo(rented);
        return new GrpcMessage(rented, bytes.Length);
    }

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _rented, null) is { } rented) { ArrayPool<byte>.Shared.Return(rented); }
    }
}
