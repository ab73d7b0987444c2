using VmSidecar.Wire.Protobuf;

using Xunit;

namespace VmSidecar.Wire.Tests.Protobuf;

/// <summary>The field scanner on good, odd and hostile bytes.</summary>
public sealed class ProtoReaderTests
{
    [Fact]
    public void Fields_of_every_wire_type_are_seen_in_order()
    {
        byte[] message = [.. new ProtoWriter().Varint(1, 300).String(2, "hi").Double(3, 1.5).ToArray(), 0x25, 1, 0, 0, 0];
        var reader = new ProtoReader(message);
        Assert.True(reader.Next());
        Assert.Equal((1, ProtoWireType.Varint, 300ul), (reader.Number, reader.Type, reader.Value));
        Assert.True(reader.Next());
        Assert.True(reader.Is(2));
        Assert.Equal("hi"u8.ToArray(), reader.Bytes.ToArray());
        Assert.True(reader.Next());
        Assert.Equal(1.5, BitConverter.UInt64BitsToDouble(reader.Value));
        Assert.True(reader.Next());
        Assert.Equal((4, 1ul), (reader.Number, reader.Value));
        Assert.False(reader.Next());
        Assert.False(reader.IsMalformed);
    }

    [Fact]
    public void A_group_is_one_field()
    {
        byte[] group = [0x0B, 0x08, 0x01, 0x13, 0x14, 0x0C]; // group 1 { 1: 1, group 2 {} }
        var reader = new ProtoReader([.. group, 0x10, 0x05]);
        Assert.True(reader.Next());
        Assert.Equal(group, reader.Field.ToArray());
        Assert.True(reader.Next());
        Assert.Equal((2, 5ul), (reader.Number, reader.Value));
        Assert.False(reader.Next());
        Assert.False(reader.IsMalformed);
    }

    [Theory]
    [InlineData("00")] // field number 0
    [InlineData("0c")] // an end without a start
    [InlineData("0e")] // wire type 6
    [InlineData("0f")] // wire type 7
    [InlineData("0aff")] // length without end
    [InlineData("0a05616263")] // shorter than it says
    [InlineData("0affffffffffffffffff01")] // a length that overflows
    [InlineData("08ffffffffffffffffffff01")] // a varint of eleven bytes
    [InlineData("0d0102")] // half a fixed32
    [InlineData("09010203")] // half a fixed64
    [InlineData("0b0801")] // a group without an end
    [InlineData("0b14")] // a group with another's end
    public void Broken_input_is_called_so(string hex)
    {
        var reader = new ProtoReader(Convert.FromHexString(hex));
        while (reader.Next()) { }
        Assert.True(reader.IsMalformed);
        Assert.True(reader.Bytes.IsEmpty);
    }

    [Fact]
    public void Groups_nested_without_end_cost_no_more_than_their_limit()
    {
        byte[] message = new byte[1_000_000];
        Array.Fill(message, (byte)0x0B);
        var reader = new ProtoReader(message);
        Assert.False(reader.Next());
        Assert.True(reader.IsMalformed);
    }

    [Fact]
    public void No_input_throws_or_reads_past_the_end()
    {
        for (int seed = 0; seed < 20_000; seed++)
        {
            var random = new Random(seed);
            byte[] bytes = new byte[random.Next(0, 40)];
            random.NextBytes(bytes);
            var reader = new ProtoReader(bytes);
            int end = 0;
            while (reader.Next())
            {
                Assert.True(reader.Start == end && reader.End > reader.Start && reader.End <= bytes.Length, $"seed {seed}");
                end = reader.End;
            }
            Assert.True(reader.IsMalformed || end == bytes.Length, $"seed {seed}");
        }
    }
}
