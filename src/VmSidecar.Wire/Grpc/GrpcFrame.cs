using System.Buffers.Binary;

namespace VmSidecar.Wire.Grpc;

/// <summary>The five bytes before every message (gRPC over HTTP/2, "Length-Prefixed-Message"): one compression flag, four of length, big-endian.</summary>
internal static class GrpcFrame
{
    /// <summary>Bytes of the prefix.</summary>
    public const int PrefixLength = 5;

    /// <summary>Writes the prefix of an uncompressed message.</summary>
    public static void WritePrefix(Span<byte> destination, int length)
    {
        destination[0] = 0;
        BinaryPrimitives.WriteUInt32BigEndian(destination[1..PrefixLength], (uint)length);
    }

    /// <summary>Reads a prefix; false when fewer than five bytes are there. The flag is 0 or 1 in valid input, the caller judges it.</summary>
    public static bool TryReadPrefix(ReadOnlySpan<byte> source, out byte flag, out uint length)
    {
        flag = 0;
        length = 0;
        if (source.Length < PrefixLength) { return false; }
        flag = source[0];
        length = BinaryPrimitives.ReadUInt32BigEndian(source[1..PrefixLength]);
        return true;
    }
}
