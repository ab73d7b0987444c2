using VmSidecar.Envoy;
using VmSidecar.Linux.Processes;
using VmSidecar.Metrics;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Envoy;

/// <summary>One supervisor leaves its Envoy running, another goes on with it: same process, no line lost, its end noticed and mended.</summary>
public sealed class EnvoyEstateTests : IDisposable
{
    private readonly Lines _log = new(), _output = new();
    private readonly OwnerThread _owner = new();
    private readonly TaskCompletionSource<int> _ended = new();
    private readonly Thread _thread;

    public EnvoyEstateTests()
    {
        _thread = new Thread(() => _owner.Serve(_ended.Task));
        _thread.Start();
    }

    public void Dispose()
    {
        _ended.SetResult(0);
        _thread.Join();
        _owner.Dispose();
    }

    [Fact]
    public async Task The_Envoy_that_is_left_is_the_next_ones_with_its_words_and_its_half_line()
    {
        using var fake = new FakeEnvoy("echo up; exec cat \"$0.in\"\n");
        string pipe = fake.Binary + ".in";
        using (var make = System.Diagnostics.Process.Start("mkfifo", pipe)) { await make.WaitForExitAsync(TestContext.Current.CancellationToken); }
        EnvoySupervisor first = Make(fake, null);
        await first.StartAsync(CancellationToken.None);
        await _output.NextAsync("up");
        await using (FileStream says = File.OpenWrite(pipe))
        {
            await says.WriteAsync("whole\nhalf "u8.ToArray(), TestContext.Current.CancellationToken);
            await says.FlushAsync(TestContext.Current.CancellationToken);
            await _output.NextAsync("whole");
            Assert.Null(first.CannotLeave());
            await first.LeaveAsync(CancellationToken.None);
            EnvoyEstate left = first.Left!;
            Assert.Equal(first.State.Current!.ProcessId, left.Process.Id);

            EnvoySupervisor second = Make(fake, left);
            Assert.Equal((EnvoyPhase.Running, left.Process.Id), (second.State.Current!.Phase, second.State.Current.ProcessId)); // before it has started
            await second.StartAsync(CancellationToken.None);
            await _log.NextAsync($"Envoy (pid {left.Process.Id}) goes on under this agent");
            await says.WriteAsync("line\n"u8.ToArray(), TestContext.Current.CancellationToken);
            await says.FlushAsync(TestContext.Current.CancellationToken);
            await _output.NextAsync("half line");
            fake.Write("echo again; exec sleep 1000\n");
            says.Close(); // it ends
            await _output.NextAsync("again");
            Assert.Equal(2, second.State.Current!.Starts);
            await StopAsync(second);
        }
        Assert.Contains("Information: Envoy exited normally", _log.All);
    }

    [Fact]
    public async Task One_that_is_gone_meanwhile_is_started_anew()
    {
        using var fake = new FakeEnvoy("echo up; exec sleep 1000\n");
        EnvoySupervisor first = Make(fake, null);
        await first.StartAsync(CancellationToken.None);
        await _output.NextAsync("up");
        await first.LeaveAsync(CancellationToken.None);
        EnvoyEstate left = first.Left!;
        EnvoySupervisor second = Make(fake, left with { Process = new PeerProcess(left.Process.Id, left.Process.Started + 1) }); // its id is somebody else's by now
        await second.StartAsync(CancellationToken.None);
        await _log.NextAsync($"the Envoy of the agent before (pid {left.Process.Id}) is gone; starting another");
        await _output.NextAsync("up", occurrence: 2);
        StrangerSignals.Send(left.Process.Id, SignalNumber.Kill);
        await StopAsync(second);
    }

    [Fact]
    public async Task A_stop_right_after_the_start_drains_the_adopted_Envoy()
    {
        using var fake = new FakeEnvoy("echo up; exec sleep 1000\n");
        EnvoySupervisor first = Make(fake, null);
        await first.StartAsync(CancellationToken.None);
        await _output.NextAsync("up");
        await first.LeaveAsync(CancellationToken.None);
        EnvoySupervisor second = Make(fake, first.Left);
        await second.StartAsync(CancellationToken.None);
        await StopAsync(second);
        Assert.Contains("Warning: Aborted proxy instance", _log.All);
        Assert.Equal(default, PeerProcess.Of(first.Left!.Process.Id));
    }

    [Fact]
    public async Task Without_a_running_Envoy_there_is_nothing_to_leave()
    {
        using var fake = new FakeEnvoy("exit 1\n");
        EnvoySupervisor only = Make(fake, null);
        await only.StartAsync(CancellationToken.None);
        await _log.NextAsync("starting it again in");
        await only.LeaveAsync(CancellationToken.None).WaitAsync(Test.Deadline, TestContext.Current.CancellationToken);
        if (only.Left is { } left) { StrangerSignals.Send(left.Process.Id, SignalNumber.Kill); } // the next try was under way
    }

    private static async Task StopAsync(EnvoySupervisor supervisor)
    {
        using var hard = new CancellationTokenSource();
        await hard.CancelAsync();
        await supervisor.StopAsync(hard.Token).WaitAsync(Test.Deadline, TestContext.Current.CancellationToken);
    }

    private EnvoySupervisor Make(FakeEnvoy fake, EnvoyEstate? estate) => new(
        fake.Options, new EnvoyParts(fake, new EnvoyAdmin(fake.Options, TimeProvider.System), _output.Take, new MetricRegistry()) { Owner = _owner, Estate = estate }, TimeProvider.System, _log);
}
