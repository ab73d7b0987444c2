using VmSidecar.Configuration;
using VmSidecar.Linux.Processes;
using VmSidecar.Tests.Configuration;
using VmSidecar.Tests.Envoy;

using Xunit;

namespace VmSidecar.Tests;

/// <summary>An agent gives way only to an executable that says it goes on with everything; else it stays and says why.</summary>
public sealed class ReplacementTests : ICommandRunner, IDisposable
{
    private readonly Lines _log = new();
    private readonly OwnerThread _owner = new();
    private readonly TestHost _host = TestHost.WithFixture("1.31");
    private Func<SidecarOptions, CommandResult> _answer = _ => new(1, "", "");
    private SidecarOptions _options = null!;
    private IReadOnlyList<string> _asked = [];
    private int _left;

    public void Dispose()
    {
        _owner.Dispose();
        _host.Dispose();
    }

    Task<CommandResult> ICommandRunner.RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop)
    {
        _asked = [program, .. arguments];
        return Task.FromResult(_answer(_options));
    }

    [Fact]
    public async Task Asks_the_executable_by_its_path_with_its_own_arguments_and_leaves()
    {
        _answer = options => new(0, ReplacementOffer.Of(options, "2.0").ToLine() + "\n", "");
        Replacement replacement = Make();
        await replacement.TryAsync(CancellationToken.None);
        Assert.True(_left == 1, string.Join('\n', _log.All));
        Assert.Equal(["/usr/bin/vmsidecar", "--a", "replacement-check", "--root", "/"], _asked);
        Assert.Equal("""{"form":1,"count":2,"refusals":0,"refused":null,"needsRestart":false}""", replacement.State().ToJsonString());
    }

    [Theory]
    [InlineData(78, "", "error: /x:1: A: is wrong\nmore", "/usr/bin/vmsidecar cannot run here: error: /x:1: A: is wrong", false)]
    [InlineData(139, "", "", "/usr/bin/vmsidecar cannot run here: it ended with 139", false)]
    [InlineData(0, """{"form":2,"version":"3.0","uses":[]}""", "", "version 3.0 does not take over from this one", true)]
    public async Task Stays_and_says_why(int exit, string output, string error, string why, bool needsRestart)
    {
        _answer = _ => new(exit, output, error);
        Replacement replacement = Make();
        await replacement.TryAsync(CancellationToken.None);
        Assert.Equal(0, _left);
        Assert.StartsWith(why, replacement.State()["refused"]!.ToString(), StringComparison.Ordinal);
        Assert.Equal(needsRestart, replacement.State()["needsRestart"]!.GetValue<bool>());
        Assert.Contains(_log.All, l => l.Contains("not replaced, this agent goes on: " + why, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Stays_where_a_port_would_move()
    {
        _answer = options => new(0, ReplacementOffer.Of(options with { Status = options.Status with { Port = 16020 } }, "2.0").ToLine(), "");
        Replacement replacement = Make();
        await replacement.TryAsync(CancellationToken.None);
        Assert.Equal(0, _left);
        Assert.Contains("status port 15020 would become status port 16020", replacement.State()["refused"]!.ToString(), StringComparison.Ordinal);
        Assert.True(replacement.State()["needsRestart"]!.GetValue<bool>());
    }

    [Fact]
    public async Task Leaves_once_however_often_it_is_asked()
    {
        _answer = options => new(0, ReplacementOffer.Of(options, "2.0").ToLine(), "");
        Replacement replacement = Make();
        await replacement.TryAsync(CancellationToken.None);
        await replacement.TryAsync(CancellationToken.None);
        Assert.Equal(1, _left);
    }

    [Fact]
    public async Task What_the_last_refusal_needed_says_nothing_of_the_next()
    {
        string? inTheWay = null;
        _answer = _ => new(0, """{"form":2,"version":"3.0","uses":[]}""", "");
        Replacement replacement = Make(() => inTheWay);
        await replacement.TryAsync(CancellationToken.None);
        inTheWay = "one Envoy is taking over from another";
        await replacement.TryAsync(CancellationToken.None);
        Assert.Equal("""{"form":1,"count":2,"refusals":2,"refused":"one Envoy is taking over from another","needsRestart":false}""", replacement.State().ToJsonString());
    }

    [Fact]
    public async Task Does_not_even_ask_while_something_is_in_the_way()
    {
        Replacement replacement = Make(() => "one Envoy is taking over from another");
        await replacement.TryAsync(CancellationToken.None);
        Assert.Empty(_asked);
        Assert.Equal("one Envoy is taking over from another", replacement.State()["refused"]!.ToString());
    }

    private Replacement Make(Func<string?>? objection = null)
    {
        _options = _host.Options();
        var program = new AgentProgram("/usr/bin/vmsidecar", ["vmsidecar", "--a", "run", "--root", "/"], 2, "1.0", _owner);
        return new Replacement(_options, program, 2, objection ?? (() => null), () => _left++, this, _log);
    }
}
