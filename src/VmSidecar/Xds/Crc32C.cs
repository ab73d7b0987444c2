using System.Buffers.Binary;
using System.Numerics;

namespace VmSidecar.Xds;

/// <summary>CRC-32C (Castagnoli, RFC 3720 appendix B.4) of bytes that come in pieces: finds any one damaged run of 32 bits, which is what disks and power cuts leave. A value; begin with <see cref="Begin"/>.</summary>
internal struct Crc32C
{
    private uint _state;

    /// <summary>Of no bytes yet.</summary>
    public static Crc32C Begin => new() { _state = uint.MaxValue };

    /// <summary>The checksum of the bytes so far.</summary>
    public readonly uint Value => ~_state;

    /// <summary>The checksum of these bytes.</summary>
    public static uint Of(ReadOnlySpan<byte> bytes)
    {
        Crc32C sum = Begin;
        sum.Add(bytes);
        return sum.Value;
    }

    /// <summary>Takes the next bytes.</summary>
    public void Add(ReadOnlySpan<byte> bytes)
    {
        uint state = _state;
        while (bytes.Length >= sizeof(ulong))
        {
            state = BitOperations.Crc32C(state, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
            bytes = bytes[sizeof(ulong)..];
        }
        foreach (byte one in bytes) { state = BitOperations.Crc32C(state, one); }
        _state = state;
    }
}
