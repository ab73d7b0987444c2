using System.Net.Sockets;

using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Configuration;
using VmSidecar.Envoy;
using VmSidecar.Grpc;
using VmSidecar.Lifecycle;
using VmSidecar.Sds;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Pki;
using VmSidecar.Tests.Configuration;
using VmSidecar.Tests.Identity;

using Xunit;

namespace VmSidecar.Tests.Sds;

/// <summary>Who serves workload secrets on the well-known socket is found out at start, with real sockets.</summary>
public sealed class ExternalSdsTests
{
    private readonly ManualTimeProvider _time = new();
    private readonly ListLog _log = new();

    [Theory]
    [InlineData("nothing")]
    [InlineData("dead socket")]
    [InlineData("regular file")]
    public async Task What_nobody_listens_on_is_not_an_issuer(string what)
    {
        using TestHost host = TestHost.WithFixture("1.31");
        string socket = Prepare(host);
        if (what == "dead socket")
        {
            using Socket gone = Listener(socket + "-at-first");
            File.Move(socket + "-at-first", socket); // closing removes the first name only
        }
        if (what == "regular file") { File.WriteAllText(socket, ""); }
        Assert.Equal(what != "nothing", File.Exists(socket));
        SidecarOptions options = host.Options();
        Assert.Same(options, await Detector(options).ApplyAsync(CancellationToken.None));
    }

    [Fact]
    public async Task An_external_issuer_is_detected_and_files_are_served_beside_it()
    {
        using TestHost host = TestHost.WithFixture("1.31");
        await using Outside issuer = await Outside.OnAsync(Prepare(host));
        SidecarOptions options = await Detector(host.Options()).ApplyAsync(CancellationToken.None);
        Assert.Contains(_log.Lines, l => l == $"Information default Existing workload SDS socket found at {host.Paths.WorkloadSdsSocket}. Default Istio SDS Server will only serve files");
        Assert.True(options.Identity.IsExternal);
        Assert.Null(options.Identity.OutputDirectory);
        foreach (NodeOptions node in new[] { options.Node, options.Envoy.Node, options.Xds.Node }) { Assert.Equal("true", (string?)node.Metadata["file-credential"]); }
        Assert.Equal((host.Paths.WorkloadSdsSocket, host.Paths.FilesSdsSocket), (PipeOf(options, "sds-grpc"), PipeOf(options, "sds-files-grpc")));

        var ca = new FakeCa(TimeProvider.System);
        host.Write("r.pem", ca.RootsPem);
        await using SdsBench bench = await SdsBench.StartedAsync(change: _ => options.Sds);
        bench.Set(1);
        await using SdsClient files = await bench.ConnectAsync(host.Paths.FilesSdsSocket), workload = await bench.ConnectAsync(host.Paths.FilesSdsSocket);
        await files.AskAsync(["file-root:/r.pem"]);
        Assert.Equal(ca.RootsPem, SdsClient.Text(SdsClient.Of(await files.NextAsync())[0].ValidationContext.TrustedCa));
        await workload.AskAsync(["default"]);
        Assert.Equal(GrpcStatusCode.NotFound, (await workload.EndAsync()).Code);
    }

    [Fact]
    public async Task With_an_external_issuer_no_certificate_is_asked_for_and_a_token_that_ends_is_told()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        bench.Options = bench.Options with { IsExternal = true, OutputDirectory = null };
        bench.Boot();
        await bench.StartAsync();
        await bench.StatusAsync(s => s is { Source: "external SDS", Trouble: "" });
        await bench.UntilAsync(s => s.Trouble.Contains("nothing else can prove", StringComparison.Ordinal));
        Assert.InRange(bench.AgentTime.GetUtcNow(), new DateTimeOffset(2026, 1, 1, 0, 45, 0, TimeSpan.Zero), new DateTimeOffset(2026, 1, 1, 0, 47, 0, TimeSpan.Zero));
        Assert.Equal(0, bench.Calls);
        Assert.Equal(1, bench.CountLogged("nothing else can prove"));
    }

    [Theory]
    [InlineData("agent", "another agent (process")]
    [InlineData("noise", "does not speak HTTP/2")]
    [InlineData("demanded", "agent configured for non-default SDS socket path")]
    public async Task A_socket_that_is_in_the_way_or_missing_is_waited_for_and_then_named(string what, string expected)
    {
        using TestHost host = TestHost.WithFixture("1.31");
        string socket = Prepare(host, what == "demanded" ? "spire" : "socket");
        await using Outside? agent = what == "agent" ? await Outside.OnAsync(socket) : null;
        using Socket? noise = what == "noise" ? Listener(socket) : null;
        Task<SidecarOptions> found = Detector(host.Options(), "pilot-agent").ApplyAsync(CancellationToken.None);
        if (noise is not null) { _ = AnswerAsync(noise, "HTTP/1.1 400 Bad Request\r\n\r\n"u8.ToArray()); }
        while (!found.IsCompleted)
        {
            Task<TimeSpan> timer = _time.NextTimerAsync(Test.Deadline);
            if (await Task.WhenAny(found, timer) == timer) { _time.Advance(await timer); }
        }
        FatalException fatal = await Assert.ThrowsAsync<FatalException>(() => found);
        Assert.Contains(expected, fatal.Message, StringComparison.Ordinal);
        Assert.Single(_log.Lines, l => l.Contains("; waiting up to 10s", StringComparison.Ordinal));
        Assert.Equal(what != "demanded", File.Exists(socket)); // what others listen on is not removed
    }

    /// <summary>It may have closed before we have said a word: what it said counts all the same.</summary>
    [Fact]
    public async Task Who_speaks_another_protocol_and_hangs_up_at_once_is_named_so()
    {
        using var folder = new Folder();
        using Socket noise = Listener(folder.At("socket"));
        var answering = new Thread(() => Hasty(noise)) { IsBackground = true };
        answering.Start();
        for (int i = 0; i < 500; i++)
        {
            SocketAnswer answer = await SocketProbe.AskAsync(folder.At("socket"), Test.Deadline, CancellationToken.None);
            Assert.Equal((SocketHealth.Silent, "what listens there does not speak HTTP/2"), (answer.Health, answer.Problem));
        }
    }

    [Fact]
    public async Task A_demanded_issuer_may_come_late()
    {
        using TestHost host = TestHost.WithFixture("1.31");
        string socket = Prepare(host, "spire");
        Task<SidecarOptions> found = Detector(host.Options()).ApplyAsync(CancellationToken.None);
        TimeSpan wait = await _time.NextTimerAsync(Test.Deadline);
        await using Outside issuer = await Outside.OnAsync(socket);
        _time.Advance(wait);
        Assert.Equal(socket, PipeOf(await found.WaitAsync(Test.Deadline), "sds-grpc"));
    }

    [Fact]
    public async Task A_credential_socket_is_told_to_istiod()
    {
        using TestHost host = TestHost.WithFixture("1.31");
        Directory.CreateDirectory(Path.GetDirectoryName(host.Paths.CredentialSdsSocket)!);
        await using Outside issuer = await Outside.OnAsync(host.Paths.CredentialSdsSocket);
        SidecarOptions options = await Detector(host.Options()).ApplyAsync(CancellationToken.None);
        Assert.Equal(("true", false), ((string?)options.Xds.Node.Metadata["credential"], options.Identity.IsExternal));
    }

    [Theory]
    [InlineData("any", 1000u, true)]
    [InlineData("0", 1000u, false)]
    [InlineData("envoy,1001", 1000u, true)]
    [InlineData("envoy,1001", 1001u, true)]
    [InlineData("envoy,1001", 1002u, false)]
    [InlineData("envoy", 0u, true)]   // root reads the key anyway
    [InlineData("envoy", 998u, true)] // the agent's own user
    public void Peers_are_users_by_name_or_number(string setting, uint user, bool allowed)
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar($"VMSIDECAR_SDS_PEERS={setting}\n").Write("etc/passwd", "root:x:0:0::/:/bin/sh\nenvoy:x:1000:1000::/:/bin/sh\n");
        Assert.Equal(allowed, host.Options().Sds.Allows(user, own: 998));
    }

    [Fact]
    public void A_peer_that_is_no_user_is_a_mistake()
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar("VMSIDECAR_SDS_PEERS=nobody-here\n");
        Assert.Contains("'nobody-here', which is no user", Assert.Single(host.Load().Mistakes).Problem, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_kernel_says_who_connects_and_whoever_may_not_is_not_heard()
    {
        using var folder = new Folder();
        uint seen = uint.MaxValue;
        bool allow = true;
        var server = new GrpcServer(GrpcServerOptions.OnSocket("sds", folder.At("socket")) with { AllowsUser = user => { seen = user; return allow; } }, new Dictionary<string, GrpcHandler>(), NullLogger.Instance);
        await server.StartAsync(CancellationToken.None);
        Assert.Equal(SocketHealth.Healthy, (await SocketProbe.AskAsync(folder.At("socket"), Test.Deadline, CancellationToken.None)).Health);
        Assert.Equal(VmSidecar.Linux.PeerCredentials.OwnUserId, seen);
        allow = false;
        SocketAnswer refused = await SocketProbe.AskAsync(folder.At("socket"), Test.Deadline, CancellationToken.None);
        Assert.Equal((SocketHealth.Silent, Environment.ProcessId), (refused.Health, refused.ProcessId));
        await server.StopAsync(CancellationToken.None);
    }

    private ExternalSds Detector(SidecarOptions options, string program = "spire-agent") => new(options, _time, _log.CreateLogger("default")) { ProgramOf = _ => program };

    private static string Prepare(TestHost host, string name = "socket")
    {
        if (name != "socket") { host.Sidecar($"WORKLOAD_IDENTITY_SOCKET_FILE={name}\n"); }
        string socket = Path.Combine(Path.GetDirectoryName(host.Paths.WorkloadSdsSocket)!, name);
        Directory.CreateDirectory(Path.GetDirectoryName(socket)!);
        return socket;
    }

    private static string? PipeOf(SidecarOptions options, string cluster) => EnvoyBootstrapClusters.For(options.Envoy, EnvoyVersion.Unknown)
        .Where(c => (string?)c!["name"] == cluster)
        .Select(c => (string?)c!["load_assignment"]!["endpoints"]![0]!["lb_endpoints"]![0]!["endpoint"]!["address"]!["pipe"]!["path"]).SingleOrDefault();

    private static Socket Listener(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(path));
        socket.Listen();
        return socket;
    }

    private static async Task AnswerAsync(Socket listener, byte[] answer)
    {
        try
        {
            while (true)
            {
                using Socket peer = await listener.AcceptAsync();
                await peer.SendAsync(answer);
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException) { }
    }

    private static void Hasty(Socket listener)
    {
        try
        {
            while (true)
            {
                using Socket peer = listener.Accept();
                peer.Send("HTTP/1.1 400 Bad Request\r\n\r\n"u8);
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException) { }
    }

    /// <summary>A gRPC server of somebody else's.</summary>
    private sealed class Outside(GrpcServer server) : IAsyncDisposable
    {
        public static async Task<Outside> OnAsync(string socket)
        {
            var server = new GrpcServer(GrpcServerOptions.OnSocket("outside", socket), new Dictionary<string, GrpcHandler>(), NullLogger.Instance);
            await server.StartAsync(CancellationToken.None);
            return new Outside(server);
        }

        public async ValueTask DisposeAsync() => await server.StopAsync(CancellationToken.None);
    }
}
