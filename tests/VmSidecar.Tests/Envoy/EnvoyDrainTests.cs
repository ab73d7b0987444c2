using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Envoy;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Envoy;

public sealed class EnvoyDrainTests
{
    private readonly Lines _log = new();

    [Fact]
    public async Task Zero_connection_mode_ends_when_the_last_user_is_gone()
    {
        await using AdminDouble admin = await AdminDouble.StartAsync();
        admin.Connections.Enqueue("listener.0.0.0.0_80.downstream_cx_active: 2\n");
        admin.Connections.Enqueue("listener.0.0.0.0_80.downstream_cx_active: 0\n");
        (EnvoyDrain drain, EnvoyProcess envoy) = await StartAsync(admin, o => o with { ExitOnZeroConnections = true, MinimumDrainDuration = TimeSpan.FromMilliseconds(1) });

        await drain.RunAsync(envoy, CancellationToken.None);

        Assert.Equal("POST /drain_listeners?inboundonly&graceful", admin.Requests.First());
        Assert.Contains("Information: There are still 2 active connections", _log.All);
        Assert.Contains("Information: There are no more active connections. terminating proxy...", _log.All);
        Assert.Empty(admin.Faults);
        Assert.True(envoy.Exited.IsCompleted);
    }

    [Fact]
    public async Task A_drain_by_hand_makes_the_stop_immediate()
    {
        await using AdminDouble admin = await AdminDouble.StartAsync();
        (EnvoyDrain drain, EnvoyProcess envoy) = await StartAsync(admin, o => o with { TerminationDrainDuration = TimeSpan.FromHours(1) });

        Assert.Null(await drain.DrainOnlyAsync(CancellationToken.None));
        await drain.RunAsync(envoy, CancellationToken.None);

        Assert.Equal(["POST /drain_listeners?inboundonly&graceful&skip_exit"], admin.Requests);
        Assert.Contains("Information: Agent already drained, exiting immediately", _log.All);
    }

    [Fact]
    public async Task A_second_request_cuts_the_drain_short()
    {
        await using AdminDouble admin = await AdminDouble.StartAsync();
        (EnvoyDrain drain, EnvoyProcess envoy) = await StartAsync(admin, o => o with { TerminationDrainDuration = TimeSpan.FromHours(1) });
        using var hard = new CancellationTokenSource();

        Task ending = drain.RunAsync(envoy, hard.Token);
        await _log.NextAsync("Graceful termination period is 1h0m0s, starting...");
        await hard.CancelAsync();
        await ending.WaitAsync(Test.Deadline);

        Assert.Contains("Information: asked to hurry: the drain is cut short", _log.All);
        Assert.True(envoy.Exited.IsCompleted);
    }

    [Fact]
    public async Task An_Envoy_that_ends_by_itself_ends_the_drain()
    {
        await using AdminDouble admin = await AdminDouble.StartAsync();
        (EnvoyDrain drain, EnvoyProcess envoy) = await StartAsync(admin, o => o with { TerminationDrainDuration = TimeSpan.FromHours(1) });

        Task ending = drain.RunAsync(envoy, CancellationToken.None);
        await _log.NextAsync("Graceful termination period");
        envoy.Kill();

        await ending.WaitAsync(Test.Deadline);
    }

    private async Task<(EnvoyDrain, EnvoyProcess)> StartAsync(AdminDouble admin, Func<EnvoyOptions, EnvoyOptions> with)
    {
        using var fake = new FakeEnvoy("");
        EnvoyOptions options = with(fake.Options with { AdminPort = admin.Port });
        ChildProcess child = await ChildProcess.StartAsync(new ChildCommand("/bin/sleep", ["1000"], new Dictionary<string, string>(), Quiet: false));
        ILogger log = _log;
        return (new EnvoyDrain(options, new EnvoyAdmin(options, new ManualTimeProvider()), TimeProvider.System, log), new EnvoyProcess(child, new LastWords(), new EnvoyOutput(child, _ => { }, new LastWords(), default)));
    }
}
