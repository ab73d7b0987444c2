using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;

using VmSidecar.Configuration;
using VmSidecar.Lifecycle;
using VmSidecar.Metrics;
using VmSidecar.Status;
using VmSidecar.Tests.Envoy;

using Xunit;

namespace VmSidecar.Tests.Status;

public sealed class StatusServerTests : IAsyncLifetime
{
    private readonly Lines _log = new();
    private readonly HttpClient _http = new(new SocketsHttpHandler { AllowAutoRedirect = false });
    private string? _names;
    private string? _certificates;
    private string? _drainProblem;
    private int _quits;
    private StatusRoutes _routes = null!;
    private StatusServer _server = null!;

    public async ValueTask InitializeAsync()
    {
        var conditions = new ReadinessConditions(() => null, () => _certificates, () => null);
        var probe = new ReadinessProbe(null, conditions, TimeProvider.System);
        var page = new MetricsPage(new MetricsSources(0, []), new MetricRegistry(), new ScraperDouble(), TimeProvider.System, _log);
        var hooks = new StatusHooks
        {
            Names = () => _names,
            Sync = () => new JsonObject { ["types"] = new JsonArray() },
            Config = () => new JsonObject { ["t"] = new JsonArray() },
            Resource = (type, name) => type == "LDS" && name == "virtualOutbound" ? "raw"u8.ToArray() : null,
            Snapshot = () => new JsonObject { ["envoy"] = "running" },
            Drain = _ => Task.FromResult(_drainProblem),
            Quit = () => _quits++,
        };
        _routes = new StatusRoutes(probe, page, hooks, metricsLocalOnly: false);
        _server = new StatusServer(new StatusOptions(StatusServer.AnyPort, 0, false, null, false), _routes, _log);
        await _server.StartAsync(CancellationToken.None);
    }

    public async ValueTask DisposeAsync()
    {
        _http.Dispose();
        await _server.StopAsync(CancellationToken.None);
    }

    [Theory]
    [InlineData("//stats//prometheus?a=b", "/stats/prometheus?a=b")]
    [InlineData("//a%0d%0aSet-Cookie:x", "/a%0D%0ASet-Cookie:x")]
    [InlineData("//%C3%BC%20b", "/%C3%BC%20b")]
    public async Task Doubled_slashes_lead_to_the_path_without_them(string path, string location)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri($"http://127.0.0.1:{_server.Port}{path}"));
        using HttpResponseMessage answer = await _http.SendAsync(request);
        Assert.Equal((301, location), ((int)answer.StatusCode, answer.Headers.Location?.OriginalString));
    }

    [Theory] // as recorded of pilot-agent 1.31 (status/pilot-agent-1.31-endpoints.txt)
    [InlineData("GET", "/healthz/ready", 200, "")]
    [InlineData("POST", "/healthz/ready", 200, "")]
    [InlineData("GET", "/healthz/ready?verbose", 200, "ready\n")]
    [InlineData("GET", "/healthz/live", 200, "")]
    [InlineData("GET", "/app-health/x/readyz", 400, "app prober config does not exists for /app-health/x/readyz")]
    [InlineData("GET", "/quitquitquit", 405, "Method Not Allowed\n")]
    [InlineData("POST", "/quitquitquit", 200, "OK")]
    [InlineData("GET", "/drain", 405, "Method Not Allowed\n")]
    [InlineData("POST", "/drain", 200, "OK")]
    [InlineData("GET", "/debug/ndsz", 404, "{}")]
    [InlineData("GET", "/debug/dnsz?name=a.b", 400, "give a DNS name and a record type: ?name=NAME&type=TYPE (or DNS is not served here)\n")]
    [InlineData("GET", "/debug/statusz", 200, """{"envoy":"running"}""")]
    [InlineData("GET", "/debug/syncz", 200, """{"types":[]}""")]
    [InlineData("GET", "/debug/config_dump", 200, """{"t":[]}""")]
    [InlineData("GET", "/debug/config_dump?type=LDS&name=virtualOutbound", 200, "raw")]
    [InlineData("GET", "/debug/config_dump?type=LDS&name=x", 404, "no LDS resource of this name was relayed and accepted\n")]
    [InlineData("GET", "/debug/config_dump?type=LDS", 400, "give both type (such as LDS, or a type URL) and name, or neither\n")]
    [InlineData("GET", "/nonexistent", 404, "404 page not found\n")]
    [InlineData("GET", "/", 404, "404 page not found\n")]
    [InlineData("HEAD", "/nonexistent", 404, "")]
    public async Task Answers_as_the_classic_agent_does(string method, string path, int status, string body)
    {
        (HttpResponseMessage response, string text) = await SendAsync(method, path);
        Assert.Equal(status, (int)response.StatusCode);
        Assert.Equal(body, text);
        Assert.False(response.Headers.Contains("Server"));
    }

    [Fact]
    public async Task Errors_say_that_they_are_plain_text()
    {
        (HttpResponseMessage response, _) = await SendAsync("GET", "/nonexistent");
        Assert.Equal("text/plain; charset=utf-8", response.Content.Headers.ContentType!.ToString());
        Assert.Equal("nosniff", response.Headers.GetValues("X-Content-Type-Options").Single());
    }

    [Fact]
    public async Task Not_ready_is_503_and_the_reason_is_there_for_the_asking()
    {
        _certificates = "etc/certs/cert-chain.pem does not exist";
        Assert.Equal((503, ""), await GetAsync("/healthz/ready"));
        Assert.Equal((503, "etc/certs/cert-chain.pem does not exist\n"), await GetAsync("/healthz/ready?verbose"));
        Assert.Equal((200, ""), await GetAsync("/healthz/live"));
    }

    [Fact]
    public async Task Quit_is_called_after_the_answer_and_once()
    {
        await SendAsync("POST", "/quitquitquit");
        await SendAsync("GET", "/quitquitquit");
        Assert.Equal(1, _quits);
    }

    [Fact]
    public async Task A_drain_that_fails_says_why()
    {
        _drainProblem = "connection refused";
        (HttpResponseMessage response, string text) = await SendAsync("POST", "/drain");
        Assert.Equal(HttpStatusCode.InternalServerError, response.StatusCode);
        Assert.Equal("connection refused\n", text);
    }

    [Fact]
    public async Task The_name_table_is_json()
    {
        _names = """{"table":{}}""";
        (HttpResponseMessage response, string text) = await SendAsync("GET", "/debug/ndsz");
        Assert.Equal(_names, text);
        Assert.Equal("application/json", response.Content.Headers.ContentType!.ToString());
    }

    [Fact]
    public async Task Doubled_slashes_are_redirected()
    {
        (HttpResponseMessage response, _) = await SendAsync("GET", "//healthz///ready?verbose");
        Assert.Equal(HttpStatusCode.MovedPermanently, response.StatusCode);
        Assert.Equal("/healthz/ready?verbose", response.Headers.Location!.ToString());
    }

    [Theory]
    [InlineData("127.0.0.1", true)]
    [InlineData("127.3.2.1", true)]
    [InlineData("::1", true)]
    [InlineData("::ffff:127.0.0.1", true)]
    [InlineData("127.0.0.6", false)] // what Envoy forwards for mesh peers
    [InlineData("::ffff:127.0.0.6", false)]
    [InlineData("10.0.0.1", false)]
    [InlineData("2001:db8::1", false)]
    public void Only_this_host_may_stop_the_agent(string peer, bool allowed) => Assert.Equal(allowed, StatusRoutes.IsLocal(IPAddress.Parse(peer)));

    [Fact]
    public async Task A_taken_port_is_fatal_and_names_who_has_it()
    {
        using var holder = new TcpListener(IPAddress.IPv6Any, 0);
        holder.Server.DualMode = true;
        holder.Start();
        int port = ((IPEndPoint)holder.LocalEndpoint).Port;
        var server = new StatusServer(new StatusOptions(port, 0, false, null, false), _routes, _log);

        var e = await Assert.ThrowsAsync<FatalException>(() => server.StartAsync(CancellationToken.None));

        Assert.Contains($"port {port} is taken by", e.Message, StringComparison.Ordinal);
        Assert.Contains($"(pid {Environment.ProcessId})", e.Message, StringComparison.Ordinal);
        await server.StopAsync(CancellationToken.None);
    }

    private async Task<(int, string)> GetAsync(string path)
    {
        (HttpResponseMessage response, string text) = await SendAsync("GET", path);
        return ((int)response.StatusCode, text);
    }

    private async Task<(HttpResponseMessage Response, string Text)> SendAsync(string method, string path)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), $"http://127.0.0.1:{_server.Port}{path}");
        HttpResponseMessage response = await _http.SendAsync(request);
        return (response, await response.Content.ReadAsStringAsync());
    }
}
