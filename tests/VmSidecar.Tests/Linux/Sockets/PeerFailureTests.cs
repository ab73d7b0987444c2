using System.Net;
using System.Net.Sockets;

using VmSidecar.Commands;
using VmSidecar.Configuration;
using VmSidecar.Envoy;
using VmSidecar.Health;
using VmSidecar.Identity;
using VmSidecar.Status;
using VmSidecar.TestKit;
using VmSidecar.Tests.Envoy;
using VmSidecar.Tests.Wasm;
using VmSidecar.Wasm;

using Xunit;

namespace VmSidecar.Tests.Linux.Sockets;

/// <summary>
/// A peer that resets whoever connects, at any moment: HttpClient throws other things when that comes between the connection and its first look at it. Whoever asks gets one failure and
/// goes on.
/// </summary>
public sealed class PeerFailureTests : IDisposable
{
    private const int Times = 1000; // one in some hundred comes at that moment

    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);

    public PeerFailureTests()
    {
        _listener.Start(Times);
        Socket server = _listener.Server; // the listener itself may not be asked any more while it stops
        for (int i = 0; i < 2; i++) { new Thread(() => ResetAll(server)) { IsBackground = true }.Start(); }
    }

    private int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    public void Dispose() => _listener.Dispose();

    [Fact]
    public async Task An_application_is_unhealthy()
    {
        var options = new ProbeOptions { DefaultHost = "127.0.0.1", Timeout = Test.Deadline, Http = new HttpProbe("/", Port, null, "HTTP", []) };
        using var prober = (HttpProber)Probers.For(options, ipv6Only: false, "", TimeProvider.System)!;
        for (int i = 0; i < Times; i++) { Assert.NotNull(await prober.ProbeAsync(CancellationToken.None)); }
    }

    [Fact]
    public async Task Envoys_admin_port_has_a_problem()
    {
        using var fake = new FakeEnvoy("");
        using var admin = new EnvoyAdmin(fake.Options with { AdminPort = Port }, TimeProvider.System);
        for (int i = 0; i < Times; i++) { Assert.NotNull((await admin.GetAsync("/ready", Test.Deadline, CancellationToken.None)).Problem); }
    }

    [Fact]
    public async Task A_page_to_scrape_has_a_problem()
    {
        using var scraper = new Scraper();
        for (int i = 0; i < Times; i++) { Assert.NotNull((await scraper.GetAsync(Port, "/metrics", new ScrapeRequest("", ""), CancellationToken.None)).Problem); }
    }

    [Fact]
    public async Task A_verb_says_so()
    {
        using HttpMessageInvoker http = LocalHttp.Create();
        for (int i = 0; i < Times; i++)
        {
            using var question = new HttpRequestMessage(HttpMethod.Get, $"http://127.0.0.1:{Port}/");
            Assert.NotNull((await LocalHttp.SendAsync(http, question, Test.Deadline, TimeProvider.System, CancellationToken.None)).Problem);
        }
    }

    [Fact]
    public async Task A_metadata_server_gives_no_token()
    {
        var source = new MetadataToken($"127.0.0.1:{Port}", "cluster.local");
        for (int i = 0; i < Times; i++) { Assert.Null((await source.FetchAsync(CancellationToken.None)).Token); }
    }

    [Fact]
    public async Task A_module_is_not_had()
    {
        await using ModuleBench bench = await ModuleBench.StartAsync();
        using WasmModules modules = bench.Make(o => o with { Attempts = 1 });
        for (int i = 0; i < Times; i++) { Assert.NotEqual("", (await ModuleBench.GetAsync(modules, new WasmModuleRequest("f", $"http://127.0.0.1:{Port}/{i}", "", TimeSpan.Zero))).Error); }
    }

    /// <summary>At its limit of connections it turns the watchdog away too.</summary>
    [Fact]
    public async Task The_agents_own_status_port_lives()
    {
        var pulse = new OwnPulse(() => Port, () => null, TimeProvider.System);
        for (int i = 0; i < Times; i++) { Assert.Null(await pulse.CheckAsync(CancellationToken.None)); }
    }

    private static void ResetAll(Socket server)
    {
        try
        {
            while (true) { server.Accept().Close(0); } // a reset
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException) { }
    }
}
