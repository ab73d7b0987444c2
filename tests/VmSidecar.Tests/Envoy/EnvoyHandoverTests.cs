using VmSidecar.Envoy;
using VmSidecar.Metrics;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Envoy;

/// <summary>One Envoy takes over from another: real processes, a scripted admin port, a clock that moves when told.</summary>
public sealed class EnvoyHandoverTests
{
    private const string Old = "echo \"old $4\"\nexec sleep 1000\n";
    private const string New = "echo \"new epoch $4\"\nexec sleep 1000\n";
    private const string LiveOne = """{"version":"x","state":"LIVE","command_line_options":{"base_id":"7","restart_epoch":1}}""";
    private readonly Lines _log = new(), _output = new();
    private readonly ManualTimeProvider _time = new();
    private Task<TimeSpan>? _armed;

    [Fact]
    public async Task A_changed_executable_takes_over_when_it_serves_and_the_old_one_retires()
    {
        await using AdminDouble admin = await AdminDouble.StartAsync();
        using FakeEnvoy fake = Make(admin, Old);
        EnvoySupervisor supervisor = await StartAsync(fake);
        int first = supervisor.State.Current!.ProcessId;

        fake.Write(New);
        await TurnAsync(_output.NextAsync("new epoch 1"));
        Assert.Equal(first, supervisor.State.Current.ProcessId); // it does not serve yet
        Assert.True(Directory.Exists($"/proc/{first}"));
        admin.ServerInfo = LiveOne.Replace("LIVE", "INITIALIZING", StringComparison.Ordinal);
        await TurnUntilAsync(() => admin.Requests.Count(r => r == "GET /server_info") >= 3);
        Assert.Equal(first, supervisor.State.Current.ProcessId);
        admin.ServerInfo = LiveOne;
        await TurnUntilAsync(() => supervisor.State.Current.ProcessId != first);

        Assert.Equal(EnvoyPhase.Running, supervisor.State.Current.Phase);
        Assert.Equal(2, supervisor.State.Current.Starts); // what was seen of the old one says nothing about the new one
        Assert.True(Directory.Exists($"/proc/{first}")); // drains
        await Test.UntilAsync(() => { _time.Advance(TimeSpan.FromSeconds(91)); return !Directory.Exists($"/proc/{first}"); });
        await _log.NextAsync($"the Envoy that was replaced (pid {first}) has drained and ended");
        Assert.Contains("Information: Envoy's executable has changed: a new Envoy (epoch 1) takes over from the running one", _log.All);
        Assert.DoesNotContain(_log.All, l => l.Contains("exited", StringComparison.Ordinal));
        await StopAsync(supervisor);
    }

    [Fact]
    public async Task A_new_one_that_ends_leaves_the_old_one_serving()
    {
        await using AdminDouble admin = await AdminDouble.StartAsync();
        using FakeEnvoy fake = Make(admin, Old);
        EnvoySupervisor supervisor = await StartAsync(fake);
        int first = supervisor.State.Current!.ProcessId;

        fake.Write("echo 'hot restart version mismatch' >&2; exit 1\n");
        string line = await TurnAsync(_log.NextAsync("did not take over"));
        await LookAgainAsync(times: 4);

        Assert.Contains("hot restart version mismatch", line, StringComparison.Ordinal);
        Assert.Single(_log.All, l => l.Contains("takes over", StringComparison.Ordinal)); // and not every ten seconds
        Assert.Equal((first, 1), (supervisor.State.Current.ProcessId, supervisor.State.Current.Starts));
        Assert.True(Directory.Exists($"/proc/{first}"));
        await StopAsync(supervisor);
    }

    [Fact]
    public async Task One_that_does_not_accept_its_bootstrap_is_not_started_and_said_once()
    {
        await using AdminDouble admin = await AdminDouble.StartAsync();
        using FakeEnvoy fake = Make(admin, Old);
        EnvoySupervisor supervisor = await StartAsync(fake);

        fake.Objection = "it does not accept its bootstrap: no such field";
        fake.Write(New);
        await TurnAsync(_log.NextAsync("is not used: it does not accept its bootstrap: no such field"));
        await LookAgainAsync(times: 4);

        Assert.Single(_log.All, l => l.Contains("is not used", StringComparison.Ordinal));
        Assert.DoesNotContain(_output.All, l => l.StartsWith("new", StringComparison.Ordinal));
        await StopAsync(supervisor);
    }

    [Fact]
    public async Task Without_the_setting_a_change_is_named_and_left_alone()
    {
        await using AdminDouble admin = await AdminDouble.StartAsync();
        using FakeEnvoy fake = Make(admin, Old);
        fake.Options = fake.Options with { HotRestart = false };
        EnvoySupervisor supervisor = await StartAsync(fake);

        fake.Write(New);
        await TurnAsync(_log.NextAsync("'systemctl restart istio' takes the change"));

        Assert.Equal(1, supervisor.State.Current!.Starts);
        await StopAsync(supervisor);
    }

    [Fact]
    public async Task A_stop_in_between_ends_both()
    {
        await using AdminDouble admin = await AdminDouble.StartAsync();
        using FakeEnvoy fake = Make(admin, "echo \"pid $$\"\n" + Old);
        EnvoySupervisor supervisor = await StartAsync(fake);
        fake.Write("echo \"pid $$\"\n" + New);
        await TurnAsync(_output.NextAsync("new epoch 1"));

        await StopAsync(supervisor);

        string[] pids = [.. _output.All.Where(l => l.StartsWith("pid ", StringComparison.Ordinal)).Select(l => l[4..])];
        Assert.Equal(2, pids.Length);
        Assert.All(pids, pid => Assert.False(Directory.Exists($"/proc/{pid}")));
    }

    [Theory]
    [InlineData(LiveOne, 1, true)]
    [InlineData(LiveOne, 0, false)] // the old one still answers
    [InlineData("""{"state":"PRE_INITIALIZING","command_line_options":{"restart_epoch":1}}""", 1, false)]
    [InlineData("""{"state":"LIVE"}""", 0, false)]
    [InlineData("[]", 0, false)]
    [InlineData("{", 0, false)]
    [InlineData("", 0, false)]
    public void Only_a_live_Envoy_of_the_epoch_has_taken_over(string body, int epoch, bool live) => Assert.Equal(live, EnvoyHandover.IsLive(body, epoch));

    private static FakeEnvoy Make(AdminDouble admin, string script)
    {
        var fake = new FakeEnvoy(script);
        fake.Options = fake.Options with { HotRestart = true, AdminPort = admin.Port };
        return fake;
    }

    private async Task<EnvoySupervisor> StartAsync(FakeEnvoy fake)
    {
        var supervisor = new EnvoySupervisor(fake.Options, new EnvoyParts(fake, new EnvoyAdmin(fake.Options, _time), _output.Take, new MetricRegistry()), _time, _log);
        // The admin double listens where an orphan would; the sweep names it and goes on.
        await supervisor.StartAsync(CancellationToken.None);
        await _output.NextAsync("old");
        return supervisor;
    }

    private async Task StopAsync(EnvoySupervisor supervisor) => await TurnAsync(supervisor.StopAsync(new CancellationToken(canceled: true)));

    /// <summary>Lets the clock follow the timers of the hand-over (a look at the files, one at the admin port), no others, until something has happened.</summary>
    private async Task TurnAsync(Task until)
    {
        while (!until.IsCompleted)
        {
            _armed ??= _time.NextTimerAsync(Test.Deadline); // one that is not used up belongs to the next call
            if (await Task.WhenAny(_armed, until) == until) { break; }
            TimeSpan due = await _armed;
            _armed = null;
            if (due is { TotalSeconds: 5 or 0.2 }) { _time.Advance(due); }
        }
        await until;
    }

    private async Task<T> TurnAsync<T>(Task<T> until)
    {
        await TurnAsync((Task)until);
        return await until;
    }

    /// <summary>Lets the files be looked at so many times more.</summary>
    private async Task LookAgainAsync(int times)
    {
        while (times > 0)
        {
            TimeSpan due = await (_armed ??= _time.NextTimerAsync(Test.Deadline));
            _armed = null;
            if (due.TotalSeconds != 5) { continue; }
            _time.Advance(due);
            times--;
        }
    }

    /// <summary>The same, for something that the clock must not run past.</summary>
    private async Task TurnUntilAsync(Func<bool> happened)
    {
        while (!happened())
        {
            TimeSpan due = await (_armed ??= _time.NextTimerAsync(Test.Deadline));
            if (happened()) { break; } // what is armed belongs to the next call
            _armed = null;
            if (due is { TotalSeconds: 5 or 0.2 }) { _time.Advance(due); }
        }
    }
}
