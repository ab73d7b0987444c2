using System.Security.Cryptography;
using VmSidecar.Dns;

using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>Work in pieces comes to the same as in one, at every length around the size of a piece.</summary>
public sealed class BreatherTests
{
    public static TheoryData<int> Lengths => [0, 1, Breather.Piece - 1, Breather.Piece, Breather.Piece + 1, (3 * Breather.Piece) - 1, 3 * Breather.Piece, (3 * Breather.Piece) + 7];

    [Theory, MemberData(nameof(Lengths))]
    public void Copied_hashed_and_cut_as_in_one(int length)
    {
        byte[] bytes = Random(length), copy = new byte[length];
        Breather.Copy(bytes, copy);
        Assert.Equal(bytes, copy);
        Assert.Equal(SHA256.HashData(bytes), Breather.Sha256(bytes));
        ReadOnlyMemory<byte>[] pieces = [.. Breather.Pieces(bytes)];
        Assert.All(pieces, p => Assert.InRange(p.Length, 0, Breather.Piece));
        Assert.Equal(bytes, pieces.SelectMany(p => p.ToArray()));
    }

    [Theory, MemberData(nameof(Lengths))]
    public void Equal_where_every_byte_is(int length)
    {
        byte[] bytes = Random(length);
        Assert.True(Breather.AreEqual(bytes, (byte[])bytes.Clone()));
        Assert.False(Breather.AreEqual(bytes, new byte[length + 1]));
        foreach (int at in (ReadOnlySpan<int>)[0, length / 2, length - 1])
        {
            if (length == 0) { continue; }
            byte[] other = (byte[])bytes.Clone();
            other[at] ^= 1;
            Assert.False(Breather.AreEqual(bytes, other));
        }
    }

    private static byte[] Random(int length)
    {
        byte[] bytes = new byte[length];
        new Random(length).NextBytes(bytes);
        return bytes;
    }
}
