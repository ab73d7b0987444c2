using VmSidecar.Envoy;

using Xunit;

namespace VmSidecar.Tests.Envoy;

public sealed class RestartPolicyTests
{
    [Fact]
    public void Delays_double_from_a_tenth_of_a_second_to_ten()
    {
        int failures = 0;
        List<double> seconds = [];
        for (int i = 0; i < 9; i++)
        {
            (failures, TimeSpan delay) = RestartPolicy.After(TimeSpan.FromSeconds(1), failures, 0.5);
            seconds.Add(Math.Round(delay.TotalSeconds, 3));
        }
        Assert.Equal([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10], seconds);
    }

    [Fact]
    public void A_minute_of_life_is_forgiven() =>
        Assert.Equal((1, TimeSpan.FromSeconds(0.1)), RestartPolicy.After(TimeSpan.FromSeconds(60), 30, 0.5));

    [Theory]
    [InlineData(0.0)]
    [InlineData(0.999999)]
    public void Jitter_stays_within_a_fifth(double random)
    {
        for (int failures = 0; failures < 1000; failures++)
        {
            (_, TimeSpan delay) = RestartPolicy.After(TimeSpan.Zero, failures, random);
            Assert.InRange(delay, TimeSpan.FromSeconds(0.08), TimeSpan.FromSeconds(12));
        }
    }
}
