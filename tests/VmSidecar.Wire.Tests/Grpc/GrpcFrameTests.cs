using VmSidecar.Wire.Grpc;

using Xunit;

namespace VmSidecar.Wire.Tests.Grpc;

public sealed class GrpcFrameTests
{
    [Theory]
    [InlineData(0, "0000000000")]
    [InlineData(5, "0000000005")]
    [InlineData(0x01020304, "0001020304")]
    public void The_prefix_is_a_zero_flag_and_the_length_in_network_order(int length, string hex)
    {
        byte[] prefix = [9, 9, 9, 9, 9];
        GrpcFrame.WritePrefix(prefix, length);
        Assert.Equal(hex, Convert.ToHexString(prefix));
        Assert.True(GrpcFrame.TryReadPrefix(prefix, out byte flag, out uint read));
        Assert.Equal((0, (uint)length), (flag, read));
    }

    [Fact]
    public void Lengths_above_two_gigabytes_are_read_as_such()
    {
        Assert.True(GrpcFrame.TryReadPrefix([1, 0xFF, 0xFF, 0xFF, 0xFF], out byte flag, out uint length));
        Assert.Equal((1, uint.MaxValue), (flag, length));
    }

    [Fact]
    public void Fewer_than_five_bytes_are_no_prefix()
    {
        for (int length = 0; length < 5; length++) { Assert.False(GrpcFrame.TryReadPrefix(new byte[length], out _, out _)); }
    }
}
