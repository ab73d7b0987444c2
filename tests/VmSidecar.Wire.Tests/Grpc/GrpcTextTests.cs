using System.Text;

using VmSidecar.Wire.Grpc;

using Xunit;

namespace VmSidecar.Wire.Tests.Grpc;

public sealed class GrpcTextTests
{
    [Theory]
    [InlineData("plain text, with signs ~ !", "plain text, with signs ~ !")]
    [InlineData("100%", "100%25")]
    [InlineData("a\nb\t\u007f", "a%0Ab%09%7F")]
    [InlineData("é ☺", "%C3%A9 %E2%98%BA")]
    [InlineData("", "")]
    public void Only_printable_ascii_other_than_percent_goes_unescaped(string text, string encoded)
    {
        Assert.Equal(encoded, GrpcText.Encode(text));
        Assert.Equal(text, GrpcText.Decode(encoded));
    }

    [Theory]
    [InlineData("50% of", "50% of")]
    [InlineData("%", "%")]
    [InlineData("%4", "%4")]
    [InlineData("%zz%41", "%zzA")]
    [InlineData("%c3%a9", "é")]
    public void A_bad_escape_stays_as_it_is(string encoded, string text) => Assert.Equal(text, GrpcText.Decode(encoded));

    [Fact]
    public void Any_text_survives_and_is_printable_on_the_wire()
    {
        var random = new Random(1);
        for (int round = 0; round < 5_000; round++)
        {
            var text = new StringBuilder();
            for (int i = random.Next(40); i > 0; i--) { text.Append(new Rune(random.Next(3) == 0 ? random.Next(0xE000, 0x10FFFF) : random.Next(0xD800)).ToString()); }
            string encoded = GrpcText.Encode(text.ToString());
            Assert.All(encoded, c => Assert.InRange(c, ' ', '~'));
            Assert.Equal(text.ToString(), GrpcText.Decode(encoded));
        }
    }

    [Fact]
    public void No_input_makes_the_decoder_fail()
    {
        var random = new Random(2);
        for (int round = 0; round < 5_000; round++)
        {
            string input = string.Create(random.Next(20), random, static (chars, r) =>
            {
                foreach (ref char c in chars) { c = "%%%0aF\u00ffz"[r.Next(8)]; }
            });
            Assert.True(GrpcText.Decode(input).Length <= input.Length, input);
        }
    }
}
