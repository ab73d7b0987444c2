using System.Numerics;
using System.Runtime.InteropServices;

namespace VmSidecar.Wire.Dns;

/// <summary>
/// Compares names (or keys that start with one) already in lower case, byte for byte, so that a dictionary keyed by arrays can be
/// asked with a span. The hash is seeded per process: names of queries are chosen by strangers.
/// </summary>
internal sealed class WireNameComparer : IEqualityComparer<byte[]>, IAlternateEqualityComparer<ReadOnlySpan<byte>, byte[]>
{
    private static readonly ulong Seed = (ulong)Random.Shared.NextInt64() | 1;

    public static readonly WireNameComparer Instance = new();

    public bool Equals(byte[]? x, byte[]? y) => ReferenceEquals(x, y) || (x is not null && y is not null && x.AsSpan().SequenceEqual(y));

    public int GetHashCode(byte[] obj) => Hash(obj);

    public bool Equals(ReadOnlySpan<byte> alternate, byte[] other) => alternate.SequenceEqual(other);

    public int GetHashCode(ReadOnlySpan<byte> alternate) => Hash(alternate);

    public byte[] Create(ReadOnlySpan<byte> alternate) => alternate.ToArray();

    private static int Hash(ReadOnlySpan<byte> bytes)
    {
        ulong hash = Seed ^ (ulong)bytes.Length;
        while (bytes.Length >= sizeof(ulong))
        {
            hash = Mix(hash ^ MemoryMarshal.Read<ulong>(bytes));
            bytes = bytes[sizeof(ulong)..];
        }
        ulong rest = 0;
        foreach (byte b in bytes) { rest = (rest << 8) | b; }
        hash = Mix(hash ^ rest);
        return (int)(hash ^ (hash >> 32));
    }

    private static ulong Mix(ulong value)
    {
        ulong high = Math.BigMul(value ^ Seed, 0x9E3779B97F4A7C15UL, out ulong low);
        return BitOperations.RotateLeft(high ^ low, 23);
    }
}
