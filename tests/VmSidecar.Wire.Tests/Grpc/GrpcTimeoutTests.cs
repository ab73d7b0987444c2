using VmSidecar.Wire.Grpc;

using Xunit;

namespace VmSidecar.Wire.Tests.Grpc;

public sealed class GrpcTimeoutTests
{
    [Theory]
    [InlineData("1H", 36_000_000_000)]
    [InlineData("2M", 1_200_000_000)]
    [InlineData("10S", 100_000_000)]
    [InlineData("250m", 2_500_000)]
    [InlineData("99999999u", 999_999_990)]
    [InlineData("150n", 2)]
    [InlineData("0n", 0)]
    public void Every_unit_is_read(string text, long ticks)
    {
        Assert.True(GrpcTimeout.TryParse(text, out TimeSpan timeout));
        Assert.Equal(ticks, timeout.Ticks);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("S")]
    [InlineData("10")]
    [InlineData("10s")]
    [InlineData("-1S")]
    [InlineData("+1S")]
    [InlineData(" 1S")]
    [InlineData("1.5S")]
    [InlineData("100000000S")]
    public void What_is_no_timeout_is_refused(string? text) => Assert.False(GrpcTimeout.TryParse(text, out _));

    [Theory]
    [InlineData(100_000_000, "10000000u")]
    [InlineData(3_000_000_000, "300000m")]
    [InlineData(0, "1n")]
    [InlineData(-5, "1n")]
    [InlineData(long.MaxValue, "99999999H")]
    public void The_finest_unit_that_fits_in_eight_digits_is_written(long ticks, string text) =>
        Assert.Equal(ticks == long.MaxValue ? GrpcTimeout.Format(TimeSpan.MaxValue) : text, GrpcTimeout.Format(TimeSpan.FromTicks(ticks)));

    [Fact]
    public void What_is_written_is_read_back_no_shorter_and_at_most_one_unit_longer()
    {
        var random = new Random(3);
        for (int round = 0; round < 5_000; round++)
        {
            var timeout = TimeSpan.FromTicks(random.NextInt64(1, 1L << random.Next(1, 62)));
            string text = GrpcTimeout.Format(timeout);
            Assert.True(text.Length <= 9, text);
            Assert.True(GrpcTimeout.TryParse(text, out TimeSpan read), text);
            Assert.True(read >= timeout, text);
            Assert.True((read - timeout).TotalHours <= 1, text);
        }
    }
}
