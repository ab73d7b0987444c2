using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.Intrinsics.X86;

using ArmCrc32 = System.Runtime.Intrinsics.Arm.Crc32;

namespace VmSidecar.Xds;

/// <summary>
/// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of bytes that come in pieces: finds any one damaged run of 32 bits, which is what disks and power cuts leave. By the
/// processor where the program was compiled for one that can, else eight bytes at a time by tables. A value; begin with <see cref="Begin"/>.
/// </summary>
internal struct Crc32C
{
    private const uint Polynomial = 0x82F63B78; // reflected
    private const int Row = 256;                // entries of a table; table n is for a byte with n more behind it

    private static readonly uint[] s_tables = Tables();

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
    public void Add(ReadOnlySpan<byte> bytes) => _state = Sse42.X64.IsSupported || ArmCrc32.Arm64.IsSupported ? ByProcessor(_state, bytes) : ByTables(_state, bytes);

    private static uint ByProcessor(uint state, ReadOnlySpan<byte> bytes)
    {
        for (; bytes.Length >= sizeof(ulong); bytes = bytes[sizeof(ulong)..]) { state = BitOperations.Crc32C(state, BinaryPrimitives.ReadUInt64LittleEndian(bytes)); }
        foreach (byte one in bytes) { state = BitOperations.Crc32C(state, one); }
        return state;
    }

    /// <summary>The state after these bytes, the same as by the processor.</summary>
    internal static uint ByTables(uint state, ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<uint> t = s_tables;
        t = t[..(8 * Row)];
        for (; bytes.Length >= sizeof(ulong); bytes = bytes[sizeof(ulong)..])
        {
            uint low = BinaryPrimitives.ReadUInt32LittleEndian(bytes) ^ state, high = BinaryPrimitives.ReadUInt32LittleEndian(bytes[sizeof(uint)..]);
            state = t[(7 * Row) + (byte)low] ^ t[(6 * Row) + (byte)(low >> 8)] ^ t[(5 * Row) + (byte)(low >> 16)] ^ t[(4 * Row) + (int)(low >> 24)]
                ^ t[(3 * Row) + (byte)high] ^ t[(2 * Row) + (byte)(high >> 8)] ^ t[Row + (byte)(high >> 16)] ^ t[(int)(high >> 24)];
        }
        foreach (byte one in bytes) { state = t[(byte)(state ^ one)] ^ (state >> 8); }
        return state;
    }

    private static uint[] Tables()
    {
        uint[] tables = new uint[8 * Row];
        for (int i = 0; i < Row; i++)
        {
            uint value = (uint)i;
            for (int bit = 0; bit < 8; bit++) { value = (value & 1) != 0 ? (value >> 1) ^ Polynomial : value >> 1; }
            tables[i] = value;
        }
        for (int i = Row; i < tables.Length; i++) { tables[i] = tables[(byte)tables[i - Row]] ^ (tables[i - Row] >> 8); }
        return tables;
    }
}
