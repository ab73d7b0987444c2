using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;

using VmSidecar.Commands;
using VmSidecar.Commands.Doctor;
using VmSidecar.Configuration;
using VmSidecar.TestKit;
using VmSidecar.Tests.Configuration;

using Xunit;

namespace VmSidecar.Tests.Commands;

/// <summary>The verbs meet answers that are no agent's, texts that would move a terminal's cursor, and ports that are none: they say so, and never end on it.</summary>
public sealed class ForeignAnswerTests
{
    private const string Nasty = "a\u001b[2J\u0007\u009b\u202eb\nready";
    private readonly StringWriter _out = new(CultureInfo.InvariantCulture), _error = new(CultureInfo.InvariantCulture);

    [Theory]
    [InlineData("""{"names":{"fromDisk":"x","hosts":[1],"taken":{}}}""", 0)]
    [InlineData("""{"istiod":{"types":[1,"x",{"error":1}],"leftOut":[null,{}],"since":1},"certificate":{"until":[]},"envoy":{"phase":1,"starts":"x","pid":{}}}""", 0)]
    [InlineData("{}", 3, "text/plain; charset=utf8x")]
    [InlineData("{}", 3, "text/plain; charset=utf-7")]
    public async Task Status_of_anything_has_an_exit_code(string body, int exit, string type = "application/json")
    {
        await using WebApplication app = await HttpDouble.ServeAsync(http =>
        {
            http.Response.ContentType = type;
            return http.Response.WriteAsync(body);
        });
        Assert.Equal(exit, await StatusCommand.RunAsync(Cli(), HttpDouble.Port(app), json: false, watch: false, CancellationToken.None));
    }

    [Fact]
    public void No_text_of_others_moves_the_cursor_or_forges_a_line()
    {
        string status = StatusText.Render(new JsonObject
        {
            ["reason"] = Nasty, ["version"] = Nasty, ["names"] = new JsonObject { ["hosts"] = Nasty },
            ["istiod"] = new JsonObject { ["mode"] = Nasty, ["trouble"] = Nasty, ["leftOut"] = new JsonArray(Nasty) }, ["envoy"] = new JsonObject { ["phase"] = Nasty, ["lastExit"] = Nasty },
        }, DateTimeOffset.UnixEpoch);
        string doctor = DoctorReport.Text([new("VS1", "title", Finding.Fail(Nasty, Nasty))]);
        foreach (string text in (string[])[status, doctor])
        {
            Assert.DoesNotContain(text.ReplaceLineEndings(""), c => char.IsControl(c) || c == '\u202e');
            Assert.DoesNotContain("ready", text.Split('\n'));
            Assert.Contains(@"a\x1b[2J\x07\x9b\u202eb", text, StringComparison.Ordinal);
        }
        Assert.Equal("ü – ok\t".Replace("\t", @"\x09", StringComparison.Ordinal), ConsoleText.Line("ü – ok\t"));
    }

    [Theory]
    [InlineData("""{"cache":1,"servers":{"a":1}}""", "names no server")]
    [InlineData("""{"cache":"fresh","servers":[1,"x",{"server":"s","outcome":[],"milliseconds":"slow","note":2,"records":"r"},{"server":"\u001b[2J","records":[1,{}]}]}""", @"  upstream  \x1b[2J:  in ? ms")]
    public async Task A_report_on_a_name_that_is_none_is_shown_as_far_as_it_goes(string report, string said)
    {
        await using Dns.DnsLab lab = await Dns.DnsLab.StartAsync();
        using var text = new StringWriter { NewLine = "\n" };
        var command = new DnsCommand(lab.Options with { Listen = [lab.Address] }, (_, _, _) => Task.FromResult(JsonNode.Parse(report) as JsonObject), TimeProvider.System, text);
        await command.RunAsync("outside.example.", "A", CancellationToken.None);
        Assert.Contains(said, text.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("70000"), InlineData("-1"), InlineData("http")]
    public void A_port_that_is_none_is_refused_before_anything_is_asked(string port)
    {
        foreach (Command verb in (Command[])[StatusCommand.Create(Cli()), ReloadCommand.Create(Cli())])
        {
            ParseResult parsed = verb.Parse(["--port", port]);
            Assert.NotEmpty(parsed.Errors);
        }
        Assert.Empty(StatusCommand.Create(Cli()).Parse(["--port", "15020"]).Errors);
    }

    /// <summary>The agent that runs began without the mistake that is in the files now.</summary>
    [Fact]
    public void The_port_is_the_configured_one_also_beside_a_mistake()
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar("VMSIDECAR_DNS_TTL=soon\n").Mesh("defaultConfig: {discoveryAddress: 'istiod.istio-system.svc:15012', statusPort: 16020, proxyAdminPort: 16000}\n");
        ConfigLoad load = host.Load();
        Assert.Null(load.Options);
        Assert.Equal(new AgentPorts(16020, 16000), AgentPorts.Of(load));
    }

    private Cli Cli() => new(_out, _error, new Dictionary<string, string>(), "vmsidecar");
}
