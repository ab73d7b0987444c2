using System.Threading.Channels;

using VmSidecar.Configuration;
using VmSidecar.Envoy;
using VmSidecar.Health;
using VmSidecar.Lifecycle;
using VmSidecar.TestKit;
using VmSidecar.Tests.Envoy;

using Xunit;

namespace VmSidecar.Tests.Health;

public sealed class HealthCheckerTests
{
    private readonly Lines _log = new();
    private bool _ticked;
    private readonly ManualTimeProvider _time = new();

    [Fact]
    public async Task The_first_probe_comes_after_the_delay_and_the_next_after_the_period()
    {
        var prober = new ScriptedProber("refused", "refused", null);
        using var checker = new HealthChecker(new ProbeOptions { InitialDelay = TimeSpan.FromSeconds(5) }, prober, null, _time, _log);
        await checker.StartAsync(CancellationToken.None);

        Assert.Equal(TimeSpan.FromSeconds(5), await _time.NextTimerAsync(Test.Deadline));
        _time.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(TimeSpan.FromSeconds(10), await _time.NextTimerAsync(Test.Deadline));
        Assert.Equal(new HealthState(false, "refused"), checker.State.Current);
        _time.Advance(TimeSpan.FromSeconds(10));
        await _time.NextTimerAsync(Test.Deadline);
        _time.Advance(TimeSpan.FromSeconds(10));
        await _time.NextTimerAsync(Test.Deadline);

        Assert.Equal(new HealthState(true, ""), checker.State.Current);
        Assert.Equal(
            [
                "Information: starting health check for health.AggregateProber in 5s",
                "Information: failure threshold hit, marking as unhealthy: refused",
                "Information: success threshold hit, marking as healthy",
            ],
            _log.All);
        await checker.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task An_Envoy_on_its_way_up_is_no_verdict_and_one_that_dies_later_is()
    {
        await using AdminDouble admin = await AdminDouble.StartAsync();
        var envoy = new Published<EnvoyState>(new EnvoyState(EnvoyPhase.Running, 7, 1, default, null));
        using var checker = new HealthChecker(new ProbeOptions(), new ScriptedProber(null, null), Readiness(admin, envoy), _time, _log);
        await checker.StartAsync(CancellationToken.None);
        for (int i = 0; i < 3; i++) { await TickAsync(); }
        Assert.Null(checker.State.Current); // the application was not asked either
        admin.Updates = "cluster_manager.cds.update_success: 1\nlistener_manager.lds.update_success: 1\n";
        admin.Server = "server.state: 0\nlistener_manager.workers_started: 1\n";
        await TickAsync();
        Assert.Equal(new HealthState(true, ""), checker.State.Current);
        envoy.Set(new EnvoyState(EnvoyPhase.BackingOff, 0, 1, default, "signal: killed"));
        await TickAsync();
        Assert.Equal(new HealthState(false, "Envoy is not running"), checker.State.Current);
        Assert.DoesNotContain(_log.All, l => l.Contains("config not received", StringComparison.Ordinal) && !l.StartsWith("Debug", StringComparison.Ordinal));
        await checker.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task An_Envoy_that_does_not_come_up_within_a_minute_is_a_verdict()
    {
        await using AdminDouble admin = await AdminDouble.StartAsync();
        using var checker = new HealthChecker(new ProbeOptions(), new ScriptedProber(), Readiness(admin, null), _time, _log);
        await checker.StartAsync(CancellationToken.None);
        for (int i = 0; i < 6; i++)
        {
            Assert.Equal(TimeSpan.FromSeconds(10), await _time.NextTimerAsync(Test.Deadline));
            Assert.Null(checker.State.Current);
            _time.Advance(TimeSpan.FromSeconds(10));
        }
        await _time.NextTimerAsync(Test.Deadline);
        Assert.StartsWith("config not received from XDS server", checker.State.Current!.Message, StringComparison.Ordinal);
        await checker.StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task Ticks_missed_during_a_slow_probe_are_dropped()
    {
        var prober = new ScriptedProber("", "");
        prober.During = () => _time.Jump(TimeSpan.FromSeconds(23));
        using var checker = new HealthChecker(new ProbeOptions(), prober, null, _time, _log);
        await checker.StartAsync(CancellationToken.None);

        Assert.Equal(TimeSpan.FromSeconds(7), await _time.NextTimerAsync(Test.Deadline));
        await checker.StopAsync(CancellationToken.None);
    }

    [Theory]
    [InlineData(null, "False the agent is stopping")] // healthy until then
    [InlineData("refused", "False refused")]          // istiod sends nobody here anyway
    public async Task It_says_goodbye_when_the_agent_is_asked_to_stop_and_probes_no_more(string? verdict, string said)
    {
        using var stop = new CancellationTokenSource();
        using var checker = new HealthChecker(new ProbeOptions(), new ScriptedProber(verdict), null, _time, _log) { StopRequested = stop.Token };
        await checker.StartAsync(CancellationToken.None);
        Assert.Equal(TimeSpan.FromSeconds(10), await _time.NextTimerAsync(Test.Deadline));

        Task changed = checker.State.Watch().Changed;
        await stop.CancelAsync();
        if (verdict is null) { await changed.WaitAsync(Test.Deadline); }
        await checker.StopAsync(CancellationToken.None);
        Assert.Equal(said, $"{checker.State.Current!.Healthy} {checker.State.Current.Message}");
    }

    [Fact]
    public async Task A_stop_during_the_delay_is_immediate()
    {
        using var checker = new HealthChecker(new ProbeOptions { InitialDelay = TimeSpan.FromHours(1) }, new ScriptedProber(), null, _time, _log);
        await checker.StartAsync(CancellationToken.None);
        await checker.StopAsync(CancellationToken.None).WaitAsync(Test.Deadline);
        Assert.Equal(new HealthState(false, "the agent is stopping") { IsLast = true }, checker.State.Current);
    }

    [Fact]
    public async Task A_bug_of_a_prober_ends_the_component()
    {
        using var checker = new HealthChecker(new ProbeOptions(), new ScriptedProber(), null, _time, _log);
        await checker.StartAsync(CancellationToken.None);
        await Assert.ThrowsAsync<InvalidOperationException>(() => checker.Completion.WaitAsync(Test.Deadline));
        await checker.StopAsync(CancellationToken.None);
    }

    /// <summary>The next probe, to its end.</summary>
    private async Task TickAsync()
    {
        if (_ticked) { _time.Advance(TimeSpan.FromSeconds(10)); }
        _ticked = true;
        Assert.Equal(TimeSpan.FromSeconds(10), await _time.NextTimerAsync(Test.Deadline));
    }

    private static EnvoyReadiness Readiness(AdminDouble admin, Published<EnvoyState>? state)
    {
        using var fake = new FakeEnvoy("");
        return new EnvoyReadiness(new EnvoyAdmin(fake.Options with { AdminPort = admin.Port }, new ManualTimeProvider()), state); // its timeouts are of another test
    }

    private sealed class ScriptedProber : IProber
    {
        private readonly Channel<string?> _results = Channel.CreateUnbounded<string?>();

        public ScriptedProber(params string?[] results)
        {
            foreach (string? result in results) { _results.Writer.TryWrite(result); }
        }

        public Action During { get; set; } = () => { };

        public Task<string?> ProbeAsync(CancellationToken stop)
        {
            During();
            return _results.Reader.TryRead(out string? result) ? Task.FromResult(result) : throw new InvalidOperationException("asked too often");
        }
    }
}
