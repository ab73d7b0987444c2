using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;

using VmSidecar.Commands;
using VmSidecar.TestKit;
using VmSidecar.Tests.Configuration;

using Xunit;

namespace VmSidecar.Tests.Commands;

public sealed class VerbTests
{
    private readonly StringWriter _out = new(CultureInfo.InvariantCulture), _error = new(CultureInfo.InvariantCulture);

    [Theory]
    [InlineData(200, "LIVE", 0, "LIVE\n", "")]
    [InlineData(404, "not here", 0, "not here\n", "")]
    [InlineData(503, "later", 255, "", "Error: received unsuccessful status code 503: later\n")]
    public async Task Request_prints_the_body_alone(int status, string body, int exit, string stdout, string stderr)
    {
        string seen = "";
        await using WebApplication app = await HttpDouble.ServeAsync(http =>
        {
            seen = $"{http.Request.Method} {http.Request.Path}{http.Request.QueryString}";
            http.Response.StatusCode = status;
            return http.Response.WriteAsync(body);
        });

        Assert.Equal(exit, await RequestCommand.RunAsync(Cli(), new("POST", "/stats?filter=a", null, HttpDouble.Port(app)), CancellationToken.None));

        Assert.Equal("POST /stats?filter=a", seen);
        Assert.Equal((stdout, stderr), (_out.ToString(), _error.ToString()));
    }

    [Fact]
    public async Task Request_to_nobody_says_so()
    {
        int port = FreePort.Next();
        Assert.Equal(255, await RequestCommand.RunAsync(Cli(), new("GET", "ready", null, port), CancellationToken.None));
        Assert.Equal($"Error: nothing listens on 127.0.0.1:{port} (connection refused)\n", _error.ToString());
    }

    [Fact]
    public async Task Wait_ends_at_the_first_200()
    {
        int asked = 0;
        await using WebApplication app = await HttpDouble.ServeAsync(http => { http.Response.StatusCode = ++asked < 3 ? 503 : 200; return Task.CompletedTask; });
        var patience = new WaitCommand.Patience(Test.Deadline, Test.Deadline, TimeSpan.FromMilliseconds(1));
        Assert.Equal(0, await WaitCommand.RunAsync(Cli(), patience, new($"http://127.0.0.1:{HttpDouble.Port(app)}/", FreePort.Next()), TimeProvider.System, CancellationToken.None));
        Assert.EndsWith("\tinfo\tEnvoy is ready!\n", _out.ToString(), StringComparison.Ordinal);
        Assert.Equal(3, asked);
    }

    [Fact]
    public async Task Wait_gives_up_with_the_last_error()
    {
        await using WebApplication app = await HttpDouble.ServeAsync(http => { http.Response.StatusCode = 503; return Task.CompletedTask; });
        var patience = new WaitCommand.Patience(TimeSpan.Zero, Test.Deadline, TimeSpan.Zero);
        Assert.Equal(255, await WaitCommand.RunAsync(Cli(), patience, new($"http://127.0.0.1:{HttpDouble.Port(app)}/", FreePort.Next()), TimeProvider.System, CancellationToken.None));
        Assert.StartsWith("Error: timeout waiting for Envoy proxy to become ready. Last error: HTTP status code 503", _error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Status_of_no_agent_is_3()
    {
        Assert.Equal(3, await StatusCommand.RunAsync(Cli(), FreePort.Next(), json: false, watch: false, CancellationToken.None));
        Assert.Contains("the agent does not answer", _error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Status_of_an_agent_whose_port_is_off_is_not_asked_for_on_port_0()
    {
        using TestHost host = new TestHost().Mesh("defaultConfig:\n  statusPort: 0\n");
        Assert.Equal(3, await StatusCommand.Create(Cli()).Parse(["--root", host.Paths.Root]).InvokeAsync());
        Assert.StartsWith("the status port is off (statusPort: 0)", _error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Status_shows_the_state_and_exits_by_readiness()
    {
        await using WebApplication app = await HttpDouble.ServeAsync(http =>
        {
            if (http.Request.Path == "/debug/statusz") { return http.Response.WriteAsync("""{"started":"2026-01-01T00:00:00Z"}"""); }
            http.Response.StatusCode = 503;
            return http.Response.WriteAsync("workers have not yet started\n");
        });
        Assert.Equal(1, await StatusCommand.RunAsync(Cli(), HttpDouble.Port(app), json: true, watch: false, CancellationToken.None));
        JsonNode state = JsonNode.Parse(_out.ToString())!;
        Assert.Equal("workers have not yet started", state["reason"]!.ToString());
    }

    /// <summary>A person reads it, and a terminal shows it: quotes stand as they are, and nothing can move the cursor.</summary>
    [Fact]
    public async Task Status_as_JSON_is_readable_and_harmless()
    {
        const string Reason = "listener \"0.0.0.0_80\" <is> & isn't; ü \u001b[2J\u009b2J\u202e\n";
        await using WebApplication app = await HttpDouble.ServeAsync(http =>
            http.Response.WriteAsync(new JsonObject { ["certificate"] = new JsonObject { ["lastError"] = Reason } }.ToJsonString()));
        Assert.Equal(0, await StatusCommand.RunAsync(Cli(), HttpDouble.Port(app), json: true, watch: false, CancellationToken.None));
        Assert.Contains("listener \\\"0.0.0.0_80\\\" <is> & isn't; ü ", _out.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain(_out.ToString().Replace(Environment.NewLine, "", StringComparison.Ordinal), c => char.IsControl(c) || c == '\u202e');
        Assert.Equal(Reason, JsonNode.Parse(_out.ToString())!["certificate"]!["lastError"]!.ToString());
    }

    [Theory]
    [InlineData("404 page not found")]
    [InlineData("{\"a\":1,\"a\":2}", 0)]
    [InlineData("[]")]
    public async Task Status_of_something_that_is_no_agent_says_so(string body, int exit = 3)
    {
        await using WebApplication app = await HttpDouble.ServeAsync(http => http.Response.WriteAsync(body));
        Assert.Equal(exit, await StatusCommand.RunAsync(Cli(), HttpDouble.Port(app), json: true, watch: false, CancellationToken.None));
        Assert.Equal(exit == 3, _error.ToString().Contains("is not this agent", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("status")]
    [InlineData("request GET server_info")]
    public async Task Verbs_ask_the_ports_that_are_configured(string line)
    {
        await using WebApplication app = await HttpDouble.ServeAsync(http => http.Response.WriteAsync("""{"started":"2026-01-01T00:00:00Z"}"""));
        using TestHost host = new TestHost().Mesh($"defaultConfig:\n  statusPort: {HttpDouble.Port(app)}\n  proxyAdminPort: {HttpDouble.Port(app)}\n");
        string[] words = [.. line.Split(' '), "--root", host.Paths.Root];
        Cli cli = Cli();
        Command verb = words[0] == "status" ? StatusCommand.Create(cli) : RequestCommand.Create(cli);
        Assert.Equal(0, await verb.Parse(words[1..]).InvokeAsync());
        Assert.NotEqual("", _out.ToString());
    }

    [Fact]
    public async Task A_port_of_nobody_is_named_with_those_that_are()
    {
        using TestHost host = new TestHost().Mesh("defaultConfig:\n  proxyAdminPort: 16000\n");
        Assert.Equal(255, await RequestCommand.Create(Cli()).Parse(["GET", "stats", "--debug-port", "17", "--root", host.Paths.Root]).InvokeAsync());
        Assert.Equal("Error: --debug-port 17 is no port of the agent's or Envoy's. Use one of 15000, 15004, 15020, 15021, 16000\n", _error.ToString());
    }

    [Fact]
    public void A_renewal_that_fails_is_told_while_the_certificate_is_good() // cleared by the next success
    {
        string text = StatusText.Render((JsonObject)JsonNode.Parse("""
            {"ready":true,"certificate":{"condition":"Good","until":"2026-01-02T00:00:00Z","lastError":"istiod does not answer","advice":"the token ends soon"}}
            """)!, new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
        Assert.Contains("certificate  valid for 1d0h\n             istiod does not answer\n             the token ends soon\n", text, StringComparison.Ordinal);
    }

    [Fact]
    public void A_good_day_is_short()
    {
        string text = StatusText.Render((JsonObject)JsonNode.Parse("""
            {"ready":true,"started":"2026-01-01T00:00:00Z",
             "istiod":{"stream":"Joint","since":"2026-01-01T00:00:02Z","mode":"delta","types":[{"type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","error":null}]},
             "certificate":{"condition":"Good","until":"2026-01-02T00:00:00Z","lastError":"","advice":""},
             "envoy":{"phase":"Running","pid":812,"starts":1,"since":"2026-01-01T00:00:01Z"},
             "names":{"hosts":9,"taken":"2026-01-01T00:00:02Z","fromDisk":false}}
            """)!, new DateTimeOffset(2026, 1, 1, 0, 3, 12, TimeSpan.Zero));
        Assert.Equal(
            """
            ready
            agent        up 3m12s
            istiod       connected for 3m10s (delta)
            certificate  valid for 23h56m
            envoy        running for 3m11s (pid 812)
            names        9 hosts, taken 3m10s ago
            """,
            text);
    }

    [Fact]
    public void A_bad_day_says_what_is_wrong()
    {
        string text = StatusText.Render((JsonObject)JsonNode.Parse("""
            {"reason":"config not received","started":"2026-01-01T00:00:00Z",
             "istiod":{"stream":"None","since":"2026-01-01T00:00:00Z","mode":"sotw","trouble":"port 15012 refused","types":[{"type":"type.googleapis.com/envoy.config.listener.v3.Listener","error":"no such filter"}]},
             "certificate":{"condition":"Lapsed","until":"2025-12-31T00:00:00Z","lastError":"UNAUTHENTICATED","advice":"copy a new token"},
             "envoy":{"phase":"BackingOff","pid":0,"starts":4,"since":"2026-01-01T00:00:00Z","lastExit":"exit status 1. It wrote nothing to stderr"}}
            """)!, new DateTimeOffset(2026, 1, 1, 0, 0, 4, TimeSpan.Zero));
        Assert.Equal(
            """
            NOT READY: config not received
            agent        up 4s
            istiod       NOT CONNECTED for 4s (sotw)
                         port 15012 refused
                         Listener rejected: no such filter
            certificate  EXPIRED 1d0h ago
                         UNAUTHENTICATED
                         copy a new token
            envoy        BACKINGOFF for 4s
                         exit status 1. It wrote nothing to stderr
            names        no table yet
            """,
            text);
    }

    private Cli Cli() => new(_out, _error, new Dictionary<string, string>(), "vmsidecar");
}
