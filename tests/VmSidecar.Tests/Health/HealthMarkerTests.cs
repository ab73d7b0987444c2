using VmSidecar.Configuration;
using VmSidecar.Envoy;
using VmSidecar.Health;
using VmSidecar.TestKit;
using VmSidecar.Tests.Envoy;

using Xunit;

namespace VmSidecar.Tests.Health;

/// <summary>What istiod was told outlives a crash of the agent, and the next agent knows it: no connection is sent to an Envoy that is not up, and none after a stop.</summary>
public sealed class HealthMarkerTests : IDisposable
{
    private static readonly HealthState Goodbye = new(false, "the agent is stopping") { IsLast = true };

    private readonly string _folder = Directory.CreateTempSubdirectory("vsc-health-").FullName;
    private readonly ManualTimeProvider _time = new();
    private readonly Lines _log = new();

    private HealthMarker Marker => new(Path.Combine(_folder, "state"), _log);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(true, false, true)]   // crashed while healthy was told: the first probe is a verdict
    [InlineData(true, true, false)]   // replaced in place: Envoy serves on
    [InlineData(false, false, false)] // an ordinary start
    public async Task After_a_crash_an_Envoy_that_is_not_up_is_a_verdict_at_the_first_probe(bool marked, bool takesOver, bool told)
    {
        if (marked) { await MarkAsync(); }
        await using AdminDouble admin = await AdminDouble.StartAsync(); // never ready
        using var fake = new FakeEnvoy("");
        var envoy = new EnvoyReadiness(new EnvoyAdmin(fake.Options with { AdminPort = admin.Port }, new ManualTimeProvider()), null);
        using var checker = new HealthChecker(new ProbeOptions(), new FixedProber(null), envoy, _time, _log) { Marker = Marker, TakesOver = takesOver };
        await checker.StartAsync(CancellationToken.None);
        Assert.Equal(TimeSpan.FromSeconds(10), await _time.NextTimerAsync(Test.Deadline)); // the first probe is over
        Assert.Equal(told, checker.State.Current is { Healthy: false });
        if (told) { Assert.StartsWith("config not received from XDS server", checker.State.Current!.Message, StringComparison.Ordinal); }
        await checker.LeaveAsync(CancellationToken.None);
        Assert.Equal(marked && !told, Marker.IsThere); // istiod was told otherwise, or not
    }

    [Theory, InlineData("leave", true), InlineData("stop", false), InlineData("crash", true)]
    public async Task It_is_there_while_healthy_is_told(string end, bool left)
    {
        using var stop = new CancellationTokenSource();
        HealthMarker marker = Marker;
        using var checker = new HealthChecker(new ProbeOptions(), new FixedProber(null), null, _time, _log) { Marker = marker, StopRequested = stop.Token };
        await checker.StartAsync(CancellationToken.None);
        await _time.NextTimerAsync(Test.Deadline);
        Assert.Equal(new HealthState(true, ""), checker.State.Current);
        await marker.Written.WaitAsync(Test.Deadline);
        Assert.True(Marker.IsThere);
        if (end == "leave") { await checker.LeaveAsync(CancellationToken.None); }
        if (end == "stop")
        {
            await stop.CancelAsync();
            await checker.StopAsync(CancellationToken.None);
        }
        Assert.Equal(left, Marker.IsThere);
        await checker.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task It_is_not_there_while_unhealthy_is_told()
    {
        await MarkAsync();
        using var checker = new HealthChecker(new ProbeOptions(), new FixedProber("refused"), null, _time, _log) { Marker = Marker };
        await checker.StartAsync(CancellationToken.None);
        await _time.NextTimerAsync(Test.Deadline);
        await checker.LeaveAsync(CancellationToken.None);
        Assert.Equal((new HealthState(false, "refused"), false), (checker.State.Current, Marker.IsThere));
    }

    [Fact]
    public async Task A_stop_before_the_first_verdict_says_goodbye_as_the_agent_before_may_have_said_healthy()
    {
        await MarkAsync();
        using var stop = new CancellationTokenSource();
        using var checker = new HealthChecker(new ProbeOptions { InitialDelay = TimeSpan.FromSeconds(30) }, new FixedProber(null), null, _time, _log) { Marker = Marker, TakesOver = true, StopRequested = stop.Token };
        await checker.StartAsync(CancellationToken.None);
        Assert.Equal(TimeSpan.FromSeconds(30), await _time.NextTimerAsync(Test.Deadline));
        Task said = checker.State.Watch().Changed;
        await stop.CancelAsync();
        await said.WaitAsync(Test.Deadline); // while Envoy drains
        Assert.Equal(Goodbye, checker.State.Current);
        await checker.StopAsync(CancellationToken.None);
        Assert.False(Marker.IsThere);
    }

    [Fact]
    public async Task A_reload_before_the_first_verdict_says_nothing()
    {
        using var checker = new HealthChecker(new ProbeOptions { InitialDelay = TimeSpan.FromSeconds(30) }, new FixedProber(null), null, _time, _log) { Marker = Marker };
        await checker.StartAsync(CancellationToken.None);
        await checker.LeaveAsync(CancellationToken.None);
        Assert.Null(checker.State.Current);
    }

    [Fact]
    public async Task A_folder_that_takes_no_file_costs_a_line()
    {
        await File.WriteAllTextAsync(Path.Combine(_folder, "state"), "no folder");
        var log = new ListLog();
        var marker = new HealthMarker(Path.Combine(_folder, "state"), log.CreateLogger("healthcheck"));
        marker.Set(true);
        await marker.Written.WaitAsync(Test.Deadline);
        Assert.False(marker.IsThere);
        Assert.StartsWith("Debug healthcheck cannot note the health told", Assert.Single(log.Lines), StringComparison.Ordinal);
    }

    private async Task MarkAsync()
    {
        HealthMarker marker = Marker;
        marker.Set(true);
        await marker.Written.WaitAsync(Test.Deadline);
        Assert.True(marker.IsThere);
    }

    private sealed class FixedProber(string? result) : IProber
    {
        public Task<string?> ProbeAsync(CancellationToken stop) => Task.FromResult(result);
    }
}
