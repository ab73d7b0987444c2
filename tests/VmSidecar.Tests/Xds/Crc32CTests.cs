using System.Numerics;
using System.Text;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>The checksum of kept resources: known values (RFC 3720 appendix B.4), and the same by tables, by the processor and in any pieces.</summary>
public sealed class Crc32CTests
{
    [Theory]
    [InlineData("", 0u)]
    [InlineData("123456789", 0xE3069283u)]
    [InlineData("a", 0xC1D04330u)]
    public void Known_values(string text, uint sum)
    {
        byte[] bytes = Encoding.ASCII.GetBytes(text);
        Assert.Equal(sum, Crc32C.Of(bytes));
        Assert.Equal(sum, ~Crc32C.ByTables(uint.MaxValue, bytes));
    }

    [Fact]
    public void Thirty_two_zeros_and_ones()
    {
        Assert.Equal(0x8A9136AAu, Crc32C.Of(new byte[32]));
        byte[] ones = new byte[32];
        ones.AsSpan().Fill(0xFF);
        Assert.Equal(0x62A8AB43u, Crc32C.Of(ones));
    }

    [Fact]
    public void Tables_pieces_and_the_processor_agree()
    {
        var random = new Random(32);
        for (int i = 0; i < 500; i++)
        {
            byte[] bytes = new byte[random.Next(200)];
            random.NextBytes(bytes);
            uint one = uint.MaxValue;
            foreach (byte b in bytes) { one = BitOperations.Crc32C(one, b); }
            int cut = random.Next(bytes.Length + 1);
            Crc32C pieces = Crc32C.Begin;
            pieces.Add(bytes.AsSpan(0, cut));
            pieces.Add(bytes.AsSpan(cut));
            Assert.Equal((~one, ~one, one), (Crc32C.Of(bytes), pieces.Value, Crc32C.ByTables(uint.MaxValue, bytes)));
        }
    }
}
