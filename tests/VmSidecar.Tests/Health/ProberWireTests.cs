using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Configuration;
using VmSidecar.Envoy;
using VmSidecar.Grpc;
using VmSidecar.Health;
using VmSidecar.TestKit;
using VmSidecar.Tests.Envoy;
using VmSidecar.Tests.Grpc;
using VmSidecar.Wire.Protobuf;

using Xunit;

namespace VmSidecar.Tests.Health;

/// <summary>Probers against real servers: TLS, redirects, bodies without an end, gRPC health (reference 03 §7.3).</summary>
public sealed class ProberWireTests
{
    private static readonly ProbeOptions Options = new() { DefaultHost = "127.0.0.1", Timeout = Test.Deadline };

    [Fact]
    public async Task Https_takes_any_certificate_as_a_kubelet_does()
    {
        await using WebApplication app = await ServeAsync(_ => Task.CompletedTask, tls: true);
        Assert.Null(await ProbeAsync(new HttpProbe("/", Port(app), null, "HTTPS", [])));
    }

    [Fact]
    public async Task Each_probe_has_a_connection_of_its_own()
    {
        List<string> connections = [];
        await using WebApplication app = await ServeAsync(http => { connections.Add(http.Connection.Id); return Task.CompletedTask; });
        using var prober = new HttpProber(new HttpProbe("/", Port(app), null, "HTTP", []), Options, null, TimeProvider.System);
        for (int i = 0; i < 3; i++) { Assert.Null(await prober.ProbeAsync(CancellationToken.None)); }
        Assert.Equal(3, connections.Distinct().Count());
    }

    /// <summary>HTTP_PROXY of the unit is for downloads: neither the workload nor Envoy nor istiod is behind it.</summary>
    [Fact]
    public Task No_proxy_stands_before_workload_Envoy_and_istiod() => OwnProcess.RunAsync($"{typeof(ProberWireTests).FullName}.{nameof(BehindProxy)}");

    /// <summary>The body, for a process of its own: what HTTP_PROXY leads to is the whole process's.</summary>
    [Fact(Explicit = true)]
    public async Task BehindProxy()
    {
        int proxied = 0;
        await using WebApplication proxy = await ServeAsync(_ => { proxied++; return Task.CompletedTask; });
        HttpClient.DefaultProxy = new WebProxy("127.0.0.1", Port(proxy));
        await using WebApplication app = await ServeAsync(_ => Task.CompletedTask);
        Assert.Null(await ProbeAsync(new HttpProbe("/", Port(app), null, "HTTP", [])));
        using var envoy = new FakeEnvoy("");
        using var admin = new EnvoyAdmin(envoy.Options with { AdminPort = Port(app) }, TimeProvider.System);
        Assert.Null((await admin.GetAsync("/ready", Test.Deadline, CancellationToken.None)).Problem);
        using var server = new GrpcServer(new GrpcServerOptions("istiod", null, new IPEndPoint(IPAddress.Loopback, 0), null, 1024), GrpcPair.Methods(GrpcPair.EchoAsync), NullLogger.Instance);
        await server.StartAsync(CancellationToken.None);
        await using (var channel = new GrpcChannel(GrpcChannelOptions.For(server.Bound!.ToString())))
        {
            await using IGrpcClientCall call = await channel.OpenAsync(GrpcPair.Method, [], CancellationToken.None);
            await call.SendAsync("x"u8.ToArray(), CancellationToken.None);
            Assert.Equal("x", await call.ReadTextAsync());
        }
        await server.StopAsync(CancellationToken.None);
        Assert.Equal(0, proxied);
    }

    [Fact]
    public async Task A_redirect_may_change_to_https()
    {
        await using WebApplication secure = await ServeAsync(http => { http.Response.StatusCode = http.Request.Path == "/end" ? 204 : 500; return Task.CompletedTask; }, tls: true);
        int port = Port(secure);
        await using WebApplication app = await ServeAsync(http => { http.Response.Redirect($"https://127.0.0.1:{port}/end"); return Task.CompletedTask; });
        Assert.Null(await ProbeAsync(new HttpProbe("/", Port(app), null, "HTTP", [])));
    }

    [Fact]
    public async Task A_body_that_never_ends_is_no_reason_to_be_unhealthy()
    {
        await using WebApplication app = await ServeAsync(async http =>
        {
            await http.Response.Body.FlushAsync();
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, http.RequestAborted).ContinueWith(_ => { }, TaskScheduler.Default);
        });
        Assert.Null(await ProbeAsync(new HttpProbe("/events", Port(app), null, "HTTP", [])));
    }

    [Theory]
    [InlineData("ready?deep=1", "/ready?deep=1")]
    [InlineData("http://elsewhere.example:99/ready?deep=1", "/ready?deep=1")]
    [InlineData("/a%20b", "/a%20b")]
    public async Task Of_the_path_only_path_and_query_count(string path, string asked)
    {
        string seen = "";
        await using WebApplication app = await ServeAsync(http => { seen = http.Features.Get<Microsoft.AspNetCore.Http.Features.IHttpRequestFeature>()!.RawTarget; return Task.CompletedTask; });
        Assert.Null(await ProbeAsync(new HttpProbe(path, Port(app), null, "HTTP", [])));
        Assert.Equal(asked, seen);
    }

    [Fact]
    public async Task A_redirect_without_a_place_is_an_answer_and_ten_requests_are_the_most()
    {
        int requests = 0;
        await using WebApplication app = await ServeAsync(http =>
        {
            requests++;
            http.Response.StatusCode = 302;
            if (http.Request.Path != "/stay") { http.Response.Headers.Location = "/again"; }
            return Task.CompletedTask;
        });
        Assert.Null(await ProbeAsync(new HttpProbe("/stay", Port(app), null, "HTTP", [])));
        requests = 0;
        Assert.EndsWith("stopped after 10 redirects", await ProbeAsync(new HttpProbe("/", Port(app), null, "HTTP", [])), StringComparison.Ordinal);
        Assert.Equal(10, requests);
    }

    [Fact]
    public async Task A_secret_header_and_the_probes_own_host_do_not_follow_a_redirect_to_another_host()
    {
        List<string> seen = [];
        await using WebApplication app = await ServeAsync(http =>
        {
            seen.Add($"{http.Request.Host.Host} {http.Request.Headers.Authorization} {http.Request.Headers["X-A"]}".TrimEnd());
            if (http.Request.Path == "/") { http.Response.Redirect($"http://localhost:{http.Connection.LocalPort}/end"); }
            return Task.CompletedTask;
        });
        Assert.Null(await ProbeAsync(new HttpProbe("/", Port(app), null, "HTTP", [new("Host", "app.example"), new("Authorization", "Basic x"), new("X-A", "1")])));
        Assert.Equal(["app.example Basic x 1", "localhost  1"], seen);
    }

    [Theory]
    [InlineData(1, 0, null)]
    [InlineData(2, 0, "service unhealthy (responded with \"NOT_SERVING\")")]
    [InlineData(0, 5, "health rpc probe failed with status NotFound: unknown service")]
    [InlineData(0, 12, "doesn't implement the grpc health protocol grpc.health.v1.Health: unknown service")]
    public async Task Grpc_health_over_the_wire(int serving, int code, string? expected)
    {
        string seen = "";
        using var server = new GrpcServer(
            new GrpcServerOptions("health", null, new IPEndPoint(IPAddress.Loopback, 0), null, 1024 * 1024),
            new Dictionary<string, GrpcHandler>(StringComparer.Ordinal)
            {
                ["/grpc.health.v1.Health/Check"] = async (call, stop) =>
                {
                    using GrpcMessage? request = await call.ReadAsync(stop);
                    seen = $"{ProtoField.Text(request!.Body.Span, 1)} {call.Metadata("user-agent")}";
                    if (code != 0) { return new GrpcStatus((GrpcStatusCode)code, "unknown service"); }
                    await call.SendAsync(new ProtoWriter().Varint(1, (ulong)serving).ToArray(), stop);
                    return GrpcStatus.Ok;
                },
            },
            new ListLog().CreateLogger("health"));
        await server.StartAsync(CancellationToken.None);
        string? verdict = await new GrpcProber(new GrpcProbe(server.Bound!.Port, "app"), Options, TimeProvider.System).ProbeAsync(CancellationToken.None);
        await server.StopAsync(CancellationToken.None);
        if (expected is null) { Assert.Null(verdict); } else { Assert.Contains(expected, verdict, StringComparison.Ordinal); }
        Assert.Equal("app istio-probe/1.0 grpc-dotnet-vmsidecar/1", seen);
    }

    private static async Task<string?> ProbeAsync(HttpProbe probe)
    {
        using var prober = new HttpProber(probe, Options, IPAddress.Parse("127.0.0.6"), TimeProvider.System);
        return await prober.ProbeAsync(CancellationToken.None).WaitAsync(Test.Deadline);
    }

    private static async Task<WebApplication> ServeAsync(RequestDelegate serve, bool tls = false)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(k => k.Listen(IPAddress.Loopback, 0, listen =>
        {
            if (tls) { listen.UseHttps(Certificate()); }
        }));
        WebApplication app = builder.Build();
        app.Run(serve);
        await app.StartAsync();
        return app;
    }

    private static int Port(WebApplication app) => new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First()).Port;

    private static X509Certificate2 Certificate()
    {
        using ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using X509Certificate2 made = new CertificateRequest("CN=other.example", key, HashAlgorithmName.SHA256).CreateSelfSigned(DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch.AddYears(1)); // expired, and for another name
        return X509CertificateLoader.LoadPkcs12(made.Export(X509ContentType.Pfx), null);
    }
}
