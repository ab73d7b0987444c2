using System.Globalization;

using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;
using Xunit;

namespace VmSidecar.Tests.Linux;

/// <summary>Short programs: their input, output and end, and that none outlives its time or its caller.</summary>
public sealed class CommandRunnerTests
{
    private readonly CommandRunner _runner = new(Test.Deadline, TimeProvider.System);

    [Fact]
    public async Task Arguments_go_without_a_shell_and_both_outputs_come_back()
    {
        CommandResult done = await _runner.RunAsync("sh", ["-c", "cat; echo \"$1\" >&2; exit 3", "x", "$(reboot); `id`"], "in\nput", CancellationToken.None);
        Assert.Equal(new CommandResult(3, "in\nput", "$(reboot); `id`\n"), done);
        Assert.Equal("$(reboot); `id`", done.FirstErrorLine);
    }

    [Fact]
    public async Task The_environment_is_known_and_small()
    {
        CommandResult done = await _runner.RunAsync("env", [], "", CancellationToken.None);
        Assert.Equal(["LC_ALL=C", $"PATH={CommandRunner.SearchPath}"], done.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_thread_with_blocked_signals_starts_no_deaf_child()
    {
        var done = new TaskCompletionSource<Task<CommandResult>>(TaskCreationOptions.RunContinuationsAsynchronously); // else the rest of the test would run on the thread it joins
        var thread = new Thread(() =>
        {
            ProgramImage.BlockSignals();
            done.SetResult(_runner.RunAsync("cat", ["/proc/self/status"], "", CancellationToken.None)); // starts on this thread
        });
        thread.Start();
        CommandResult result = await await done.Task;
        thread.Join();
        string blocked = result.Output.Split('\n').Single(l => l.StartsWith("SigBlk:", StringComparison.Ordinal))["SigBlk:".Length..].Trim();
        const ulong Handled = 1 << (SignalNumber.Hup - 1) | 1 << (SignalNumber.Int - 1) | 1 << (SignalNumber.Usr1 - 1) | 1 << (SignalNumber.Term - 1);
        Assert.Equal(0ul, ulong.Parse(blocked, NumberStyles.HexNumber, CultureInfo.InvariantCulture) & Handled);
    }

    [Fact]
    public async Task A_program_that_is_not_there_is_a_result()
    {
        CommandResult done = await _runner.RunAsync("no-such-program", [], "", CancellationToken.None);
        Assert.Equal(CommandResult.NotStarted, done.ExitCode);
        Assert.Equal("no-such-program is not installed", done.FirstErrorLine);
    }

    [Fact]
    public async Task Much_output_on_both_sides_does_not_block()
    {
        CommandResult done = await _runner.RunAsync("sh", ["-c", "head -c 3000000 /dev/zero | tr '\\0' a >&2; head -c 3000000 /dev/zero | tr '\\0' b; cat >/dev/null"], new string('x', 500_000), CancellationToken.None);
        Assert.Equal((0, 3_000_000, 3_000_000), (done.ExitCode, done.Output.Length, done.Error.Length));
    }

    [Fact]
    public async Task A_program_that_does_not_read_its_input_is_no_error() =>
        Assert.True((await _runner.RunAsync("true", [], new string('x', 1_000_000), CancellationToken.None)).Succeeded);

    [Fact]
    public async Task One_that_overruns_is_killed_and_its_children_too()
    {
        var time = new ManualTimeProvider();
        string mark = Path.GetTempFileName();
        Task<CommandResult> running = new CommandRunner(TimeSpan.FromSeconds(5), time).RunAsync("sh", ["-c", $"sleep 600 & echo $! > {mark}; wait"], "", CancellationToken.None);
        Assert.Equal(TimeSpan.FromSeconds(5), await time.NextTimerAsync(Test.Deadline));
        await Test.UntilAsync(() => new FileInfo(mark).Length > 0);
        time.Advance(TimeSpan.FromSeconds(5));
        CommandResult done = await running.WaitAsync(Test.Deadline);
        Assert.Equal(CommandResult.TimedOut, done.ExitCode);
        Assert.Contains("did not end within 5 s", done.FirstErrorLine, StringComparison.Ordinal);
        await GoneAsync(mark);
    }

    [Fact]
    public async Task Cancellation_kills_and_is_the_callers_own()
    {
        using var stop = new CancellationTokenSource();
        string mark = Path.GetTempFileName();
        Task<CommandResult> running = _runner.RunAsync("sh", ["-c", $"echo $$ > {mark}; exec sleep 600"], "", stop.Token);
        await Test.UntilAsync(() => new FileInfo(mark).Length > 0);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running.WaitAsync(Test.Deadline));
        await GoneAsync(mark);
    }

    private static async Task GoneAsync(string mark)
    {
        string pid = (await File.ReadAllTextAsync(mark)).Trim();
        File.Delete(mark);
        using var patience = new CancellationTokenSource(Test.Deadline);
        while (IsAlive(pid)) { patience.Token.ThrowIfCancellationRequested(); await Task.Yield(); }
    }

    private static bool IsAlive(string pid)
    {
        try
        {
            return !File.ReadAllText($"/proc/{pid}/stat").Contains(") Z ", StringComparison.Ordinal); // a zombie waits for its parent only
        }
        catch (IOException)
        {
            return false;
        }
    }
}
