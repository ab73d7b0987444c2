using VmSidecar.Envoy;
using VmSidecar.Metrics;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Envoy;

public sealed class EnvoySupervisorTests
{
    private const string Forever = "echo up\nexec sleep 1000\n";
    private const string ForeverInShell = "echo up\nwhile :; do sleep 1000 & wait $!; done\n"; // a trap needs a shell that lives
    private readonly Lines _log = new(), _output = new();
    private readonly MetricRegistry _metrics = new();

    [Fact]
    public async Task Starts_Envoy_logs_the_command_and_passes_its_lines_on()
    {
        using var fake = new FakeEnvoy("echo \"out $1 $2\"; echo \"err $FROM_RENDERER\" >&2\n" + Forever);
        EnvoySupervisor supervisor = Make(fake);

        await supervisor.StartAsync(CancellationToken.None);

        await _output.NextAsync("out -c envoy-rev.json");
        await _output.NextAsync("err yes");
        Assert.Equal(["Information: Starting proxy agent", "Information: Envoy command: [-c envoy-rev.json]"], _log.All);
        Assert.Equal(EnvoyPhase.Running, supervisor.State.Current!.Phase);
        Assert.Equal(1, supervisor.State.Current.Starts);
        await HardStopAsync(supervisor);
    }

    [Fact]
    public async Task Its_stdout_is_a_pipe_that_it_may_open_again()
    {
        using var fake = new FakeEnvoy("readlink /proc/$$/fd/1; echo reopened > /dev/stdout\n" + Forever);
        EnvoySupervisor supervisor = Make(fake);

        await supervisor.StartAsync(CancellationToken.None);

        Assert.StartsWith("pipe:", await _output.NextAsync("pipe:"), StringComparison.Ordinal);
        await _output.NextAsync("reopened");
        await HardStopAsync(supervisor);
    }

    [Fact]
    public async Task An_Envoy_that_ends_is_started_again_in_place()
    {
        using var fake = new FakeEnvoy("[ -f \"$0.once\" ] || { touch \"$0.once\"; echo 'cannot bind' >&2; exit 3; }\n" + Forever);
        EnvoySupervisor supervisor = Make(fake);

        await supervisor.StartAsync(CancellationToken.None);

        await _output.NextAsync("up");
        Assert.Contains("Error: Envoy exited with error: exit status 3", _log.All);
        string why = await _log.NextAsync("starting it again in");
        Assert.Contains("Its last words: cannot bind", why, StringComparison.Ordinal);
        Assert.Equal(2, supervisor.State.Current!.Starts);
        await HardStopAsync(supervisor);
    }

    [Fact]
    public async Task An_Envoy_with_the_wrong_protocol_is_started_anew_once_and_that_counts_as_no_failure()
    {
        using var fake = new FakeEnvoy("echo \"pid $$\"\n" + Forever);
        EnvoySupervisor supervisor = Make(fake);
        await supervisor.StartAsync(CancellationToken.None);
        await _output.NextAsync("up");
        int first = supervisor.State.Current!.ProcessId;

        supervisor.StartAnew("istiod does not speak delta");
        supervisor.StartAnew("istiod does not speak delta"); // told twice for one Envoy

        await _output.NextAsync("up", occurrence: 2);
        await _log.NextAsync("starting Envoy anew with another bootstrap: istiod does not speak delta");
        Assert.NotEqual(first, supervisor.State.Current!.ProcessId);
        Assert.Equal(2, supervisor.State.Current.Starts);
        Assert.DoesNotContain(_log.All, l => l.Contains("exited", StringComparison.Ordinal));
        await HardStopAsync(supervisor);
    }

    [Fact]
    public async Task An_Envoy_that_keeps_ending_is_reported_once_with_its_reason()
    {
        using var fake = new FakeEnvoy("echo 'no such cluster' >&2; exit 1\n");
        var time = new ManualTimeProvider();
        EnvoySupervisor supervisor = Make(fake, time);

        await supervisor.StartAsync(CancellationToken.None);
        for (int i = 0; i < 6; i++)
        {
            await _output.NextAsync("no such cluster", i + 1);
            await NextDelayAsync(time);
            time.Jump(TimeSpan.FromSeconds(12));
            time.Advance(TimeSpan.Zero); // to now and no further: the next one begins meanwhile, and what it is granted for its last words would have passed
        }

        Assert.Single(_log.All, l => l.Contains("exited with error", StringComparison.Ordinal));
        Assert.Contains("no such cluster", await _log.NextAsync("times in a row, last with exit status 1"), StringComparison.Ordinal);
        await HardStopAsync(supervisor);
    }

    [Theory]
    [InlineData("kill -KILL $$", "Error: Envoy exited with error: signal: killed")]
    [InlineData("kill -SEGV $$", "Error: Envoy exited with error: signal: segmentation fault")]
    [InlineData("exit 0", "Information: Envoy exited normally")]
    [InlineData("exit 42", "Error: Envoy exited with error: exit status 42")]
    public async Task The_end_is_told_in_the_classic_words(string end, string expected)
    {
        using var fake = new FakeEnvoy($"[ -f \"$0.once\" ] || {{ touch \"$0.once\"; {end}; }}\n" + Forever);
        EnvoySupervisor supervisor = Make(fake);

        await supervisor.StartAsync(CancellationToken.None);

        await _output.NextAsync("up");
        Assert.Contains(_log.All, l => l.StartsWith(expected, StringComparison.Ordinal));
        await HardStopAsync(supervisor);
    }

    [Fact]
    public async Task A_missing_executable_is_said_once_and_taken_as_soon_as_it_is_there()
    {
        using var fake = new FakeEnvoy(Forever);
        File.Delete(fake.Binary);
        var time = new ManualTimeProvider();
        EnvoySupervisor supervisor = Make(fake, time);

        await supervisor.StartAsync(CancellationToken.None);
        for (int i = 0; i < 3; i++)
        {
            await time.NextTimerAsync(Test.Deadline);
            time.Advance(TimeSpan.FromSeconds(12));
        }
        Assert.Equal(EnvoyPhase.Missing, supervisor.State.Current!.Phase);
        fake.Write(Forever);
        await time.NextTimerAsync(Test.Deadline);
        time.Advance(TimeSpan.FromSeconds(12));

        await _output.NextAsync("up");
        Assert.Single(_log.All, l => l.Contains("cannot start Envoy", StringComparison.Ordinal));
        Assert.False(supervisor.Completion.IsCompleted);
        await HardStopAsync(supervisor);
    }

    [Fact]
    public async Task Stops_with_SIGTERM_after_the_drain_and_reaps()
    {
        using var fake = new FakeEnvoy("trap 'echo flushed; exit 0' TERM\n" + ForeverInShell);
        fake.Options = fake.Options with { TerminationDrainDuration = TimeSpan.FromMilliseconds(10) };
        EnvoySupervisor supervisor = Make(fake);
        await supervisor.StartAsync(CancellationToken.None);
        await _output.NextAsync("up");
        int process = supervisor.State.Current!.ProcessId;

        await supervisor.StopAsync(CancellationToken.None);

        Assert.Contains("flushed", _output.All);
        Assert.False(Directory.Exists($"/proc/{process}"));
        Assert.Equal(
            [
                "Information: Agent draining Proxy for termination",
                "Information: Graceful termination period is 10ms, starting...",
                "Information: Graceful termination period complete, terminating remaining proxies.",
                "Warning: Aborting proxy",
                "Information: Envoy aborted normally",
                "Warning: Aborted proxy instance",
            ],
            _log.All.Skip(2).Where(l => !l.Contains("cannot ask Envoy to drain", StringComparison.Ordinal)));
        Assert.Equal(EnvoyPhase.Stopped, supervisor.State.Current.Phase);
    }

    [Fact]
    public async Task An_Envoy_deaf_to_SIGTERM_is_killed_with_its_children()
    {
        using var fake = new FakeEnvoy("trap '' TERM\n(trap '' TERM; echo child; while :; do sleep 1000; done) &\n" + ForeverInShell);
        EnvoySupervisor supervisor = Make(fake);
        await supervisor.StartAsync(CancellationToken.None);
        await _output.NextAsync("child");
        await _output.NextAsync("up");
        int process = supervisor.State.Current!.ProcessId;

        await HardStopAsync(supervisor);

        Assert.Contains(_log.All, l => l.Contains("did not end within 1s of SIGTERM", StringComparison.Ordinal));
        Assert.False(Directory.Exists($"/proc/{process}"));
    }

    [Fact]
    public async Task A_stop_before_the_first_start_is_fine()
    {
        using var fake = new FakeEnvoy(Forever);

        await Make(fake).StopAsync(CancellationToken.None);
    }

    [Fact]
    public async Task The_environment_has_no_notify_socket()
    {
        using var fake = new FakeEnvoy("echo \"socket=[$NOTIFY_SOCKET] watchdog=[$WATCHDOG_USEC]\"\n" + Forever);
        Environment.SetEnvironmentVariable("NOTIFY_SOCKET", "/run/vsc-test");
        Environment.SetEnvironmentVariable("WATCHDOG_USEC", "1000000");
        EnvoySupervisor supervisor = Make(fake);
        try
        {
            await supervisor.StartAsync(CancellationToken.None);
            await _output.NextAsync("socket=[] watchdog=[]");
        }
        finally
        {
            Environment.SetEnvironmentVariable("NOTIFY_SOCKET", null);
            Environment.SetEnvironmentVariable("WATCHDOG_USEC", null);
            await HardStopAsync(supervisor);
        }
    }

    /// <summary>Waits until the back-off timer is armed, past those that wait for Envoy's last lines (1 s), for a change of its executable (5 s) and for a stable life (60 s).</summary>
    private static async Task NextDelayAsync(ManualTimeProvider time)
    {
        while (await time.NextTimerAsync(Test.Deadline) is { TotalSeconds: 1 or 5 or 60 }) { }
    }

    private static Task HardStopAsync(EnvoySupervisor supervisor) => supervisor.StopAsync(new CancellationToken(canceled: true));

    private EnvoySupervisor Make(FakeEnvoy fake, TimeProvider? time = null) => new(
        fake.Options, new EnvoyParts(fake, new EnvoyAdmin(fake.Options, time ?? TimeProvider.System), _output.Take, _metrics), time ?? TimeProvider.System, _log);
}
