using FsCheck;
using FsCheck.Fluent;

using VmSidecar.Lifecycle;

using Xunit;

namespace VmSidecar.Tests.Lifecycle;

public sealed class BackoffTests
{
    private static readonly Backoff Half = new(TimeSpan.FromMilliseconds(500), TimeSpan.FromSeconds(60), 1.5);
    private static readonly Backoff Full = new(TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(30), 2, Jitter: 1);

    [Fact]
    public void Nothing_failed_means_no_delay() => Assert.Equal(TimeSpan.Zero, Half.After(0, 0.9));

    [Theory]
    [InlineData(1, 0.5, 500)]
    [InlineData(2, 0.5, 750)]
    [InlineData(1, 0.0, 250)]
    [InlineData(100, 0.5, 60_000)]
    public void Grows_by_the_factor_up_to_the_cap(int failures, double random, int milliseconds) =>
        Assert.Equal(TimeSpan.FromMilliseconds(milliseconds), Half.After(failures, random));

    [Fact]
    public void Never_exceeds_the_cap_with_its_jitter_and_is_never_negative() => Prop.ForAll(
        Gen.Choose(0, int.MaxValue).Zip(Gen.Choose(0, 999_999)).ToArbitrary(),
        input =>
        {
            double random = input.Item2 / 1_000_000.0;
            TimeSpan full = Full.After(input.Item1, random), half = Half.After(input.Item1, random);
            return full >= TimeSpan.Zero && full <= TimeSpan.FromSeconds(30) && half >= TimeSpan.Zero && half <= TimeSpan.FromSeconds(90);
        }).QuickCheckThrowOnFailure();
}
