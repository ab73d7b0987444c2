using VmSidecar.Identity;

using Xunit;

namespace VmSidecar.Tests.Identity;

public sealed class RotationPolicyTests
{
    private static readonly DateTimeOffset Created = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData(60, 0.5, 0, 0, 30 * 60)]
    [InlineData(60, 0.25, 0, 0, 45 * 60)]
    [InlineData(60, 1, 0, 0, 1)] // never faster than once a second
    [InlineData(60, 0, 0, 0, 60 * 60)]
    [InlineData(-1, 0.5, 0, 0, 0)]
    [InlineData(24 * 60, 0.5, 0.01, 1, 42336)] // 11h45m36s
    public void Renewal_begins_when_the_grace_share_is_left(int minutes, double ratio, double jitter, double random, int seconds) =>
        Assert.Equal(TimeSpan.FromSeconds(seconds), RotationPolicy.RenewAfter(Created, Created.AddMinutes(minutes), ratio, jitter, random, up: true));

    [Fact]
    public void Jitter_stays_within_a_hundredth_either_way()
    {
        var random = new Random(7);
        for (int i = 0; i < 1000; i++)
        {
            TimeSpan after = RotationPolicy.RenewAfter(Created, Created.AddHours(24), 0.5, 0.01, random.NextDouble(), random.Next(2) == 0);
            Assert.InRange(after, new TimeSpan(11, 45, 36), new TimeSpan(12, 14, 24));
        }
    }

    [Fact]
    public void Retries_wait_half_a_second_to_a_minute_within_half_either_way()
    {
        for (int failures = 1; failures < 200; failures++)
        {
            Assert.InRange(RotationPolicy.Retry.After(failures, 0.999), TimeSpan.FromMilliseconds(500), TimeSpan.FromSeconds(90));
            Assert.InRange(RotationPolicy.Retry.After(failures, 0), TimeSpan.FromMilliseconds(250), TimeSpan.FromSeconds(30));
        }
    }

    [Theory]
    [InlineData(0, 0, IdentityCondition.Good)]
    [InlineData(13, 5, IdentityCondition.Good)]
    [InlineData(19, 5, IdentityCondition.Lapsing)]
    [InlineData(19, 0, IdentityCondition.Good)]
    [InlineData(25, 5, IdentityCondition.Lapsed)]
    [InlineData(25, 0, IdentityCondition.Lapsed)]
    internal void The_alarm_comes_when_a_quarter_is_left(int hours, int failures, IdentityCondition expected)
    {
        var held = new WorkloadSecrets("", "", "", Created, Created.AddHours(24), Created, "");
        Assert.Equal(expected, RotationPolicy.Condition(held, failures, Created.AddHours(hours)));
    }

    [Theory]
    [InlineData(-1, 0)]     // 1.10, clocks agree
    [InlineData(-120, 0)]   // 1.31, clocks agree
    [InlineData(-119, 0)]
    [InlineData(-3720, 3600)]
    [InlineData(3600, -3599)]
    public void A_fresh_certificate_tells_the_least_the_clock_is_off(int notBefore, int expected) =>
        Assert.Equal(TimeSpan.FromSeconds(expected), ClockOffset.AtLeast(Created.AddSeconds(notBefore), Created, Created.AddSeconds(1)));
}
