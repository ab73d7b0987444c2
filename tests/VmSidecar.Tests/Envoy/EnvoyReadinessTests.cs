using System.Net;
using System.Net.Sockets;

using VmSidecar.Envoy;
using VmSidecar.Lifecycle;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Envoy;

public sealed class EnvoyReadinessTests
{
    private const string Configured = "cluster_manager.cds.update_success: 1\nlistener_manager.lds.update_success: 1\n";
    private const string Live = "listener_manager.workers_started: 1\nserver.state: 0\n";

    [Theory]
    [InlineData("", "config not received from XDS server (is Istiod running?): cds updates: 0 successful, 0 rejected; lds updates: 0 successful, 0 rejected")]
    [InlineData("listener_manager.lds.update_success: 1", "config not fully received from XDS server: cds updates: 0 successful, 0 rejected; lds updates: 1 successful, 0 rejected")]
    [InlineData("cluster_manager.cds.update_rejected: 1\nlistener_manager.lds.update_success: 1", "config received from XDS server, but was rejected: cds updates: 0 successful, 1 rejected; lds updates: 1 successful, 0 rejected")]
    [InlineData("cluster_manager.cds.update_rejected: 1\nlistener_manager.lds.update_rejected: 2", "config not received from XDS server (is Istiod running?): cds updates: 0 successful, 1 rejected; lds updates: 0 successful, 2 rejected")]
    [InlineData("cluster_manager.cds.update_success: 7\r\nlistener_manager.lds.update_success: 1\r\n", null)]
    [InlineData("cluster_manager.cds.update_success: x\nlistener_manager.lds.update_success: 1: 2", "config not received from XDS server (is Istiod running?): cds updates: 0 successful, 0 rejected; lds updates: 0 successful, 0 rejected")]
    public void Updates_are_explained_in_the_classic_words(string body, string? expected) => Assert.Equal(expected, EnvoyReadiness.ExplainUpdates(body));

    [Theory]
    [InlineData("server.state: 2", "failed to get readiness stats: listener_manager.workers_started is not yet updated: server.state: 2")]
    [InlineData("server.state: 2\nlistener_manager.workers_started: 0", "server is not live, current state is: PRE_INITIALIZING")]
    [InlineData("server.state: 3\nlistener_manager.workers_started: 0", "server is not live, current state is: INITIALIZING")]
    [InlineData("server.state: 1\nlistener_manager.workers_started: 1", "server is not live, current state is: DRAINING")]
    [InlineData("server.state: 0\nlistener_manager.workers_started: 0", "workers have not yet started")]
    [InlineData("server.state: 0\nlistener_manager.workers_started: 1", null)]
    public void The_server_state_is_explained_in_the_classic_words(string body, string? expected) => Assert.Equal(expected, EnvoyReadiness.ExplainServer(body));

    [Fact]
    public async Task What_was_true_once_is_not_asked_again()
    {
        await using AdminDouble admin = await AdminDouble.StartAsync();
        EnvoyReadiness readiness = Make(admin, null);
        admin.Updates = Configured;
        admin.Server = Live;

        Assert.Null(await readiness.CheckAsync(CancellationToken.None));
        admin.Updates = admin.Server = "";
        Assert.Null(await readiness.CheckAsync(CancellationToken.None));

        Assert.Equal(2, admin.Requests.Count);
        Assert.Empty(admin.Faults);
    }

    [Fact]
    public async Task A_restarted_Envoy_proves_itself_anew()
    {
        await using AdminDouble admin = await AdminDouble.StartAsync();
        var state = new Published<EnvoyState>(new EnvoyState(EnvoyPhase.Running, 7, 1, default, null));
        EnvoyReadiness readiness = Make(admin, state);
        admin.Updates = Configured;
        admin.Server = Live;
        Assert.Null(await readiness.CheckAsync(CancellationToken.None));

        state.Set(new EnvoyState(EnvoyPhase.BackingOff, 0, 1, default, "signal: killed"));
        Assert.Equal("Envoy is not running", await readiness.CheckAsync(CancellationToken.None));
        state.Set(new EnvoyState(EnvoyPhase.Running, 8, 2, default, null));
        admin.Updates = "";
        Assert.StartsWith("config not received", await readiness.CheckAsync(CancellationToken.None), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_dead_admin_port_reads_as_the_classic_agent_says_it()
    {
        using var held = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp); // bound and not listening: refused, and nobody else gets the port
        held.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        int port = ((IPEndPoint)held.LocalEndPoint!).Port;
        EnvoyReadiness readiness = Make(port, null);

        string? problem = await readiness.CheckAsync(CancellationToken.None);

        // as recorded: pilot-agent 1.31, log/pilot-agent-1.31-start.log
        Assert.Equal(
            $@"Get ""http://127.0.0.1:{port}/stats?usedonly&filter=^(cluster_manager\\.cds|listener_manager\\.lds)\\.(update_success|update_rejected)$"": dial tcp 127.0.0.1:{port}: connect: connection refused",
            problem);
    }

    [Fact]
    public async Task Another_status_is_a_problem()
    {
        await using AdminDouble admin = await AdminDouble.StartAsync();
        admin.Status = 503;

        Assert.Equal("unexpected status 503", await Make(admin, null).CheckAsync(CancellationToken.None));
    }

    [Fact]
    public async Task A_hanging_admin_port_costs_the_timeout_only()
    {
        using var deaf = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        deaf.Start();
        using var fake = new FakeEnvoy("");
        var options = fake.Options with { AdminPort = ((System.Net.IPEndPoint)deaf.LocalEndpoint).Port };
        var time = new ManualTimeProvider();

        Task<string?> check = new EnvoyReadiness(new EnvoyAdmin(options, time), null).CheckAsync(CancellationToken.None);
        Assert.Equal(TimeSpan.FromSeconds(1), await time.NextTimerAsync(Test.Deadline));
        time.Advance(TimeSpan.FromSeconds(1));

        Assert.EndsWith("context deadline exceeded (Client.Timeout exceeded while awaiting headers)", await check.WaitAsync(Test.Deadline), StringComparison.Ordinal);
    }

    private static EnvoyReadiness Make(AdminDouble admin, Published<EnvoyState>? state) => Make(admin.Port, state);

    private static EnvoyReadiness Make(int port, Published<EnvoyState>? state)
    {
        using var fake = new FakeEnvoy("");
        return new EnvoyReadiness(new EnvoyAdmin(fake.Options with { AdminPort = port }, new ManualTimeProvider()), state); // its timeouts are of another test
    }
}
