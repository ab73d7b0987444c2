using System.Globalization;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;

using VmSidecar.Commands;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Commands;

/// <summary><c>reload</c> tells the agent and reads the outcome from its status page; each outcome has its exit code, which the package goes by.</summary>
public sealed class ReloadCommandTests
{
    private const string Before = """{"pid":7,"version":"1.0-a","replacement":{"count":1,"refusals":2,"refused":"an older reason","needsRestart":true}}""";
    private const string Starting = """{"pid":7,"version":"1.0-a","replacement":null}""";
    private const string Replaced = """{"pid":7,"version":"2.0-b","replacement":{"count":2,"refusals":0,"refused":null,"needsRestart":false}}""";
    private readonly StringWriter _out = new(CultureInfo.InvariantCulture), _error = new(CultureInfo.InvariantCulture);

    [Theory]
    [InlineData("""{"pid":7,"version":"2.0-b","replacement":{"count":2,"refusals":0,"refused":null,"needsRestart":false}}""", 0, "replaced in place: 1.0-a by 2.0-b; Envoy goes on", "")]
    [InlineData("""{"pid":7,"version":"1.0-a","replacement":{"count":1,"refusals":3,"refused":"it cannot run here","needsRestart":false}}""", 1, "", "not replaced, the agent goes on: it cannot run here")]
    [InlineData("""{"pid":7,"version":"1.0-a","replacement":{"count":1,"refusals":3,"refused":"another form","needsRestart":true}}""", 4, "", "not replaced, the agent goes on: another form")]
    [InlineData("""{"pid":8,"version":"1.0-a","replacement":{"count":0,"refusals":0,"refused":null,"needsRestart":false}}""", 1, "", "the agent was started anew meanwhile")]
    public async Task Waits_for_the_outcome(string after, int exit, string said, string complained)
    {
        int told = 0, asked = 0;
        await using WebApplication app = await HttpDouble.ServeAsync(http =>
        {
            if (told == 0) { return http.Response.WriteAsync(Before); }
            if (++asked == 1) { http.Abort(); return Task.CompletedTask; } // in between
            return http.Response.WriteAsync(asked == 2 ? Before : after);
        });
        Assert.Equal(exit, await RunAsync(app, pid => (told = pid) > 0));
        Assert.Equal(7, told);
        Assert.Equal(said, _out.ToString().TrimEnd());
        Assert.Contains(complained, _error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_agent_that_does_not_know_how_is_for_a_restart_and_is_told_nothing()
    {
        await using WebApplication app = await HttpDouble.ServeAsync(http => http.Response.WriteAsync("""{"started":"2026-01-01T00:00:00Z"}"""));
        Assert.Equal(4, await RunAsync(app, _ => throw new InvalidOperationException("told")));
        Assert.Contains("systemctl restart istio", _error.ToString(), StringComparison.Ordinal);
    }

    /// <summary>systemd waits for this command before it starts the agent again: to wait for an agent that is gone is to keep the host without one.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(2000)]
    public async Task An_agent_that_ends_meanwhile_is_not_waited_for(long startedThen)
    {
        bool told = false;
        await using WebApplication app = await HttpDouble.ServeAsync(http => told ? http.Response.WriteAsync("no agent") : http.Response.WriteAsync(Before));
        int exit = await Command(app, _ => told = true, _ => !told ? new(7, 1000) : startedThen == 0 ? default : new(7, startedThen)).RunAsync(CancellationToken.None);
        Assert.Equal(1, exit);
        Assert.Contains("the agent ended instead of being replaced", _error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_process_that_is_no_agent_is_told_nothing_whoever_names_it()
    {
        using var other = System.Diagnostics.Process.Start("sleep", ["60"]);
        try
        {
            await using WebApplication app = await HttpDouble.ServeAsync(http => http.Response.WriteAsync(Before.Replace("7", $"{other.Id}", StringComparison.Ordinal)));
            Assert.Equal(1, await new ReloadCommand(_out, _error, HttpDouble.Port(app), _ => throw new InvalidOperationException("told"), TimeProvider.System).RunAsync(CancellationToken.None));
            Assert.Contains($"names process {other.Id}, which is no running agent", _error.ToString(), StringComparison.Ordinal);
        }
        finally { other.Kill(); }
    }

    [Theory]
    [InlineData("\"seven\"")]
    [InlineData("7.5")]
    [InlineData("99999999999")]
    [InlineData("{}")]
    public async Task An_answer_whose_process_id_is_no_number_is_no_agents(string pid)
    {
        await using WebApplication app = await HttpDouble.ServeAsync(http => http.Response.WriteAsync(Before.Replace("7", pid, StringComparison.Ordinal)));
        Assert.Equal(1, await RunAsync(app, _ => throw new InvalidOperationException("told")));
        Assert.Contains("names no process id", Assert.Single(_error.ToString().TrimEnd().Split('\n')), StringComparison.Ordinal);
    }

    /// <summary>Whatever answers meanwhile: the agent still has its limit, and a member given twice ends nothing.</summary>
    [Fact]
    public async Task Numbers_that_are_none_are_not_taken_for_an_outcome()
    {
        int told = 0, asked = 0;
        string odd = """{"pid":7,"pid":7,"version":"x","replacement":{"count":"many","refusals":null,"needsRestart":"yes"}}""";
        await using WebApplication app = await HttpDouble.ServeAsync(http => http.Response.WriteAsync(told == 0 ? Before : ++asked < 3 ? odd : Replaced));
        Assert.Equal(0, await RunAsync(app, pid => (told = pid) > 0));
    }

    [Fact]
    public async Task One_that_still_starts_is_waited_for()
    {
        int asked = 0;
        await using WebApplication app = await HttpDouble.ServeAsync(http => http.Response.WriteAsync(++asked < 3 ? Starting : asked == 3 ? Before : Replaced));
        Assert.Equal(0, await RunAsync(app, _ => asked == 3));
    }

    [Fact]
    public async Task One_that_never_gets_that_far_is_for_a_restart()
    {
        await using WebApplication app = await HttpDouble.ServeAsync(http => http.Response.WriteAsync(Starting));
        ReloadCommand command = new(_out, _error, HttpDouble.Port(app), _ => throw new InvalidOperationException("told"), TimeProvider.System) { StartPatience = TimeSpan.Zero };
        Assert.Equal(4, await command.RunAsync(CancellationToken.None));
    }

    [Fact]
    public async Task One_that_may_not_be_told_is_said()
    {
        await using WebApplication app = await HttpDouble.ServeAsync(http => http.Response.WriteAsync(Before));
        Assert.Equal(1, await RunAsync(app, _ => false));
        Assert.Contains("root or istio-proxy", _error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_an_agent_or_a_port_to_ask_it_says_so()
    {
        WebApplication app = await HttpDouble.ServeAsync(_ => Task.CompletedTask);
        int port = HttpDouble.Port(app);
        await app.DisposeAsync();
        Assert.Equal(3, await new ReloadCommand(_out, _error, port, _ => true, TimeProvider.System).RunAsync(CancellationToken.None));
        Assert.Equal(1, await new ReloadCommand(_out, _error, 0, _ => true, TimeProvider.System).RunAsync(CancellationToken.None));
        Assert.Contains("the status port is off", _error.ToString(), StringComparison.Ordinal);
    }

    private Task<int> RunAsync(WebApplication app, Func<int, bool> signal) => Command(app, signal, _ => new(7, 1000)).RunAsync(CancellationToken.None);

    private ReloadCommand Command(WebApplication app, Func<int, bool> signal, Func<int, PeerProcess> process) =>
        new(_out, _error, HttpDouble.Port(app), signal, TimeProvider.System) { IsAgent = pid => pid == 7, Process = process };
}
