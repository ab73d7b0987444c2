using VmSidecar.Logging;

using Xunit;

namespace VmSidecar.Tests.Logging;

public sealed class GoDurationTests
{
    [Theory]
    [InlineData(0, "0s")]
    [InlineData(360, "36µs")]
    [InlineData(1_705_496, "170.5496ms")]
    [InlineData(10_000_000, "1s")]
    [InlineData(625_000_000, "1m2.5s")]
    [InlineData(863_997_500_000, "23h59m59.75s")]
    [InlineData(36_000_000_000, "1h0m0s")]
    [InlineData(-15_000_000, "-1.5s")]
    public void Formats_the_way_the_classic_agent_does(long ticks, string expected) =>
        Assert.Equal(expected, GoDuration.Format(TimeSpan.FromTicks(ticks)));
}
