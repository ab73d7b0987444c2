using System.Security.Cryptography;

namespace VmSidecar.Dns;

/// <summary>
/// Long work beside the queries, in short pieces: between them it offers the processor to whoever waits for it. A query wakes a thread on a processor that may be
/// busy with such work, and the kernel lets that go on for its whole slice, milliseconds, unless it steps aside. Costs nothing where nobody waits.
/// </summary>
internal static class Breather
{
    /// <summary>Bytes copied, hashed or written at a time: some hundred microseconds.</summary>
    public const int Piece = 512 * 1024;

    private const int Steps = 512; // of about a microsecond

    /// <summary>To be called after each step of a loop with the loop's own count.</summary>
    public static void Step(ref int done)
    {
        if ((++done & (Steps - 1)) == 0) { Thread.Yield(); }
    }

    /// <summary>As <see cref="Span{T}.CopyTo"/>.</summary>
    public static void Copy(ReadOnlySpan<byte> from, Span<byte> to)
    {
        for (; from.Length > Piece; from = from[Piece..], to = to[Piece..])
        {
            from[..Piece].CopyTo(to);
            Thread.Yield();
        }
        from.CopyTo(to);
    }

    /// <summary>As <see cref="MemoryExtensions.SequenceEqual{T}(ReadOnlySpan{T}, ReadOnlySpan{T})"/>.</summary>
    public static bool AreEqual(ReadOnlySpan<byte> a, ReadOnlySpan<byte> b)
    {
        if (a.Length != b.Length) { return false; }
        for (; a.Length > Piece; a = a[Piece..], b = b[Piece..])
        {
            if (!a[..Piece].SequenceEqual(b[..Piece])) { return false; }
            Thread.Yield();
        }
        return a.SequenceEqual(b);
    }

    /// <summary>The SHA-256 of all the bytes.</summary>
    public static byte[] Sha256(ReadOnlySpan<byte> bytes)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        for (; bytes.Length > Piece; bytes = bytes[Piece..])
        {
            hash.AppendData(bytes[..Piece]);
            Thread.Yield();
        }
        hash.AppendData(bytes);
        return hash.GetHashAndReset();
    }

    /// <summary>The bytes one piece after the other, as they are asked for.</summary>
    public static IEnumerable<ReadOnlyMemory<byte>> Pieces(ReadOnlyMemory<byte> bytes)
    {
        for (; bytes.Length > Piece; bytes = bytes[Piece..])
        {
            yield return bytes[..Piece];
            Thread.Yield();
        }
        yield return bytes;
    }
}
