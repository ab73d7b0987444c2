using System.Net;
using System.Net.Sockets;

using Microsoft.AspNetCore.Builder;

using VmSidecar.Configuration;
using VmSidecar.Health;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Health;

public sealed class ProberTests
{
    private static readonly ProbeOptions Options = new() { DefaultHost = "127.0.0.1", Timeout = Test.Deadline };

    [Theory]
    [InlineData(200, null)]
    [InlineData(204, null)]
    [InlineData(399, null)]
    [InlineData(404, "status code was not from [200,400), bad code 404")]
    [InlineData(503, "status code was not from [200,400), bad code 503")]
    public async Task Http_is_healthy_from_200_to_399(int status, string? expected)
    {
        await using WebApplication app = await HttpDouble.ServeAsync(http => { http.Response.StatusCode = status; return Task.CompletedTask; });
        Assert.Equal(expected, await ProbeAsync(new HttpProbe("/", HttpDouble.Port(app), null, "HTTP", [])));
    }

    [Fact]
    public async Task Http_comes_from_127_0_0_6_with_its_headers_and_query()
    {
        string seen = "";
        await using WebApplication app = await HttpDouble.ServeAsync(http =>
        {
            seen = $"{http.Connection.RemoteIpAddress} {http.Request.Host} {http.Request.Path}{http.Request.QueryString} {http.Request.Headers.UserAgent} {http.Request.Headers["X-A"]} {http.Request.Headers.Connection}";
            return Task.CompletedTask;
        });

        Assert.Null(await ProbeAsync(new HttpProbe("/ready?deep=1", HttpDouble.Port(app), null, "http", [new("Host", "app.example"), new("X-A", "1"), new("X-A", "2")])));

        Assert.Equal("127.0.0.6 app.example /ready?deep=1 istio-probe/1.0 1, 2 close", seen);
    }

    [Fact]
    public async Task Redirects_are_followed_to_their_end()
    {
        await using WebApplication app = await HttpDouble.ServeAsync(http =>
        {
            if (http.Request.Path == "/") { http.Response.Redirect("/end"); }
            else { http.Response.StatusCode = 500; }
            return Task.CompletedTask;
        });
        Assert.Equal("status code was not from [200,400), bad code 500", await ProbeAsync(new HttpProbe("/", HttpDouble.Port(app), null, "HTTP", [])));
    }

    /// <summary>Whatever the application says is a failed probe at worst, never the agent's end.</summary>
    [Theory]
    [InlineData("//a:99999/")]
    [InlineData("http://a:99999/")]
    [InlineData("http://[::1")]
    [InlineData("http:///")]
    [InlineData("http://a b/")]
    [InlineData("http://..")]
    [InlineData("http://%zz/")]
    [InlineData("http://x@:1/")]
    [InlineData("http://0.0.0.0:0/")]
    [InlineData("//")]
    [InlineData("\\\\127.0.0.1:1\\b")]
    [InlineData("https:x")]
    [InlineData("ftp://a/")]
    [InlineData("http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/")]
    public async Task A_redirect_to_nowhere_is_a_failed_probe(string location)
    {
        await using WebApplication app = await HttpDouble.ServeAsync(http =>
        {
            http.Response.StatusCode = http.Request.Path == "/" ? 302 : 500;
            http.Response.Headers.Location = location;
            return Task.CompletedTask;
        });
        Assert.NotNull(await ProbeAsync(new HttpProbe("/", HttpDouble.Port(app), null, "HTTP", [])));
    }

    [Theory]
    [InlineData("Host", "a b")]
    [InlineData("Host", "a\r\nX: 1")]
    [InlineData("X-A", "a\r\nX: 1")]
    [InlineData("X A", "1")]
    [InlineData("X-A", "ü")]
    [InlineData("Content-Type", "text/plain")]
    public async Task A_header_that_cannot_be_sent_is_a_failed_probe_at_worst(string name, string value)
    {
        bool smuggled = false;
        await using WebApplication app = await HttpDouble.ServeAsync(http => { smuggled |= http.Request.Headers.ContainsKey("X"); return Task.CompletedTask; });
        await ProbeAsync(new HttpProbe("/", HttpDouble.Port(app), null, "HTTP", [new(name, value)]));
        Assert.False(smuggled);
    }

    /// <summary>Of the operator's own words: the start and every probe go on.</summary>
    [Theory]
    [InlineData("my host")]
    [InlineData("[::1")]
    [InlineData("a..b")]
    public async Task A_host_that_is_none_is_a_failed_probe(string host)
    {
        Assert.NotNull(await ProbeAsync(new HttpProbe("/", 80, host, "HTTP", [])));
        Assert.NotNull(await new TcpProber(new TcpProbe(1, new string('a', 300)), Options, TimeProvider.System).ProbeAsync(CancellationToken.None));
    }

    [Fact]
    public async Task A_loop_of_redirects_ends()
    {
        await using WebApplication app = await HttpDouble.ServeAsync(http => { http.Response.Redirect("/"); return Task.CompletedTask; });
        Assert.EndsWith("stopped after 10 redirects", await ProbeAsync(new HttpProbe("/", HttpDouble.Port(app), null, "HTTP", [])), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_closed_port_is_told_as_the_classic_agent_tells_it()
    {
        int port = FreePort.Next();
        Assert.Equal($"Get \"http://127.0.0.1:{port}/\": dial tcp 127.0.0.1:{port}: connect: connection refused", await ProbeAsync(new HttpProbe("/", port, null, "HTTP", [])));
        Assert.Equal($"dial tcp 127.0.0.1:{port}: connect: connection refused", await new TcpProber(new TcpProbe(port, null), Options, TimeProvider.System).ProbeAsync(CancellationToken.None));
    }

    [Fact]
    public async Task A_server_that_never_answers_costs_the_timeout()
    {
        using var deaf = new TcpListener(IPAddress.Loopback, 0);
        deaf.Start();
        var time = new ManualTimeProvider();
        using var prober = new HttpProber(new HttpProbe("/", ((IPEndPoint)deaf.LocalEndpoint).Port, null, "HTTP", []), Options with { Timeout = TimeSpan.FromSeconds(1) }, null, time);
        Task<string?> probe = prober.ProbeAsync(CancellationToken.None);
        Assert.Equal(TimeSpan.FromSeconds(1), await time.NextTimerAsync(Test.Deadline));
        time.Advance(TimeSpan.FromSeconds(1));
        Assert.EndsWith("context deadline exceeded (Client.Timeout exceeded while awaiting headers)", await probe.WaitAsync(Test.Deadline), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Tcp_is_healthy_when_it_connects()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        Assert.Null(await new TcpProber(new TcpProbe(((IPEndPoint)listener.LocalEndpoint).Port, null), Options, TimeProvider.System).ProbeAsync(CancellationToken.None));
    }

    [Theory]
    [InlineData("true", null)]
    [InlineData("false", "exit status 1")]
    [InlineData("/bin/sh -c 'kill -9 $$'", "signal: killed")]
    [InlineData("no-such-command", "exec: \"no-such-command\": executable file not found in $PATH")]
    [InlineData("/bin/sh -c 'yes | head -c 1000000'", null)]
    public async Task A_command_is_judged_by_its_exit(string command, string? expected)
    {
        string[] words = command.Split('\'') is [var head, var script, _] ? [.. head.Split(' ', StringSplitOptions.RemoveEmptyEntries), script] : [command];
        Assert.Equal(expected, await new ExecProber([.. words], Test.Deadline, "/usr/bin:/bin", TimeProvider.System).ProbeAsync(CancellationToken.None));
    }

    [Fact]
    public async Task A_command_that_takes_too_long_is_killed()
    {
        var time = new ManualTimeProvider();
        Task<string?> probe = new ExecProber(["/bin/sleep", "1000"], TimeSpan.FromSeconds(1), "", time).ProbeAsync(CancellationToken.None);
        await time.NextTimerAsync(Test.Deadline);
        time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal("command timeout exceeded: signal: killed", await probe.WaitAsync(Test.Deadline));
    }

    [Theory]
    [InlineData(new byte[] { 8, 1 }, null)]
    [InlineData(new byte[] { }, "service unhealthy (responded with \"UNKNOWN\")")]
    [InlineData(new byte[] { 8, 2 }, "service unhealthy (responded with \"NOT_SERVING\")")]
    [InlineData(new byte[] { 8, 3 }, "service unhealthy (responded with \"SERVICE_UNKNOWN\")")]
    [InlineData(new byte[] { 18, 200 }, "health rpc probe failed with a reply that is no HealthCheckResponse")]
    public void A_grpc_verdict_always_has_a_text(byte[] reply, string? expected) => Assert.Equal(expected, GrpcProber.Verdict(reply));

    [Fact]
    public void A_grpc_request_names_the_service() => Assert.Equal("\n\u0003app"u8.ToArray(), GrpcProber.Request("app"));

    private static async Task<string?> ProbeAsync(HttpProbe probe)
    {
        using var prober = (HttpProber)Probers.For(Options with { Http = probe }, ipv6Only: false, "", TimeProvider.System)!;
        return await prober.ProbeAsync(CancellationToken.None);
    }
}
