using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;

using VmSidecar.Envoy;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;

using Xunit;

namespace VmSidecar.Integration.Tests;

/// <summary>The agent is replaced in place by execve: the same process, the same Envoy, the same sockets, no second certificate; and it stays where the new one could not go on.</summary>
public sealed class ReplacementTests
{
    [Fact]
    public async Task Twice_replaced_under_queries_it_loses_none_and_keeps_process_Envoy_output_and_certificate()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        await using AgentProcess agent = AgentProcess.Start(istiod);
        JsonObject first = await ReadyAsync(agent);
        using var stop = new CancellationTokenSource();
        Task<int> names = AskNamesAsync(agent, stop.Token), knocks = KnockAsync(agent, stop.Token);
        for (int count = 1; count <= 2; count++)
        {
            await File.AppendAllTextAsync(agent.Said, $"half {count} ");
            agent.Signal("HUP");
            JsonObject now = await agent.StateAsync(s => Count(s, "count") == count && s["certificate"]?["until"] is not null);
            await File.AppendAllTextAsync(agent.Said, $"whole {count}\n");
            await agent.LineAsync($"half {count} whole {count}");
            Assert.Equal(first["envoy"]!["pid"]!.GetValue<int>(), now["envoy"]!["pid"]!.GetValue<int>());
        }
        await stop.CancelAsync();
        Assert.True(await names > 0 && await knocks > 0);
        Assert.False(agent.HasExited);
        Assert.Single(istiod.Ca.Calls);
        Assert.Equal(1, agent.Log().Split('\n').Count(l => l.Contains("envoy process", StringComparison.Ordinal)));
        await istiod.UntilAsync(i => i.Streams is [_], "one stream");

        agent.Signal("TERM");
        await agent.ExitedAsync();
        Assert.Equal(0, agent.ExitCode);
        Assert.False(Directory.Exists($"/proc/{first["envoy"]!["pid"]}"), agent.Log());
    }

    [Fact]
    public async Task The_Envoy_of_the_agent_before_is_watched_like_an_own_one_and_dies_with_the_agent()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        await using AgentProcess agent = AgentProcess.Start(istiod);
        int envoy = (await ReadyAsync(agent))["envoy"]!["pid"]!.GetValue<int>();
        agent.Signal("HUP");
        await agent.StateAsync(s => Count(s, "count") == 1);
        using (var kill = System.Diagnostics.Process.Start("kill", ["-KILL", $"{envoy}"])) { await kill.WaitForExitAsync(); }
        JsonObject again = await agent.StateAsync(s => s["envoy"]?["phase"]?.ToString() == "Running" && s["envoy"]!["starts"]!.GetValue<int>() == 2);
        await agent.LineAsync("signal: killed");

        agent.Signal("KILL");
        await agent.ExitedAsync();
        await Test.UntilAsync(() => !Directory.Exists($"/proc/{again["envoy"]!["pid"]}"));
    }

    [Fact]
    public async Task Where_what_was_left_cannot_be_read_the_agent_says_so_once_and_starts_without_it()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        await using AgentProcess agent = AgentProcess.Start(istiod, "1 4711");
        JsonObject state = await ReadyAsync(agent);
        await agent.LineAsync("has left cannot be read: descriptor 4711 is not the sealed memory it should be in. Starting without it");
        Assert.Equal(1, agent.Log().Split('\n').Count(l => l.Contains("has left cannot be read", StringComparison.Ordinal)));
        Assert.Equal(0, Count(state, "count"));
        Assert.Single(istiod.Ca.Calls);
    }

    /// <summary>Its start fails, here at a port that somebody took between the exec and now; Envoy's connections end as at any other stop.</summary>
    [Fact]
    public async Task A_start_that_fails_before_the_take_over_drains_Envoy_all_the_same()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        string root = RunningAgent.Onboard(istiod), script = Path.Combine(root, "envoy");
        AgentProcess.Script(script, "exec sleep 1000");
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        ChildProcess child = await ChildProcess.StartAsync(new ChildCommand(script, [], ChildEnvironment.With([])));
        try
        {
            var left = new EnvoyEstate(PeerProcess.Of(child.Id), child.Output!, child.Error!) { Inputs = new("", "", false), Starts = 1, Since = TimeProvider.System.GetUtcNow() };
            await using RunningAgent agent = RunningAgent.Start(
                root, istiod, o => o with { Envoy = o.Envoy with { Enabled = true, Binary = script, AdminPort = 1, TerminationDrainDuration = TimeSpan.Zero }, Status = o.Status with { Port = ((IPEndPoint)taken.LocalEndpoint).Port } },
                estate: new AgentEstate("1.0-before", 1, new Dictionary<string, int>(), left, null));
            Assert.Equal(ExitCode.Fatal, await agent.Ended.WaitAsync(Test.Deadline, TestContext.Current.CancellationToken));
            Assert.Equal((1, 1), (agent.Log.Count("Agent draining Proxy for termination"), agent.Log.Count("Aborted proxy instance")));
            Assert.Equal(default, PeerProcess.Of(child.Id));
        }
        finally { child.TrySignal(SignalNumber.Kill); }
    }

    /// <summary>The signal came between the exec and the take-over; what the start waits for first (an address) ends with it.</summary>
    [Fact]
    public async Task A_stop_before_the_new_agent_has_taken_over_drains_Envoy_all_the_same()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        string root = RunningAgent.Onboard(istiod), script = Path.Combine(root, "envoy");
        AgentProcess.Script(script, "exec sleep 1000");
        ChildProcess child = await ChildProcess.StartAsync(new ChildCommand(script, [], ChildEnvironment.With([])));
        try
        {
            var left = new EnvoyEstate(PeerProcess.Of(child.Id), child.Output!, child.Error!) { Inputs = new("", "", false), Starts = 1, Since = TimeProvider.System.GetUtcNow() };
            await using RunningAgent agent = RunningAgent.Start(
                root, istiod, o => o with { Envoy = o.Envoy with { Enabled = true, Binary = script, AdminPort = 1, TerminationDrainDuration = TimeSpan.Zero } },
                async (options, stop) => { await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, stop); return options; },
                estate: new AgentEstate("1.0-before", 1, new Dictionary<string, int>(), left, null), isToStop: true);
            Assert.Equal(ExitCode.Stopped, await agent.Ended.WaitAsync(Test.Deadline, TestContext.Current.CancellationToken));
            Assert.Equal((1, 1), (agent.Log.Count("Agent draining Proxy for termination"), agent.Log.Count("Aborted proxy instance")));
            Assert.Equal(default, PeerProcess.Of(child.Id));
        }
        finally { child.TrySignal(SignalNumber.Kill); }
    }

    [Fact]
    public async Task With_settings_that_do_not_read_or_that_move_a_port_the_running_agent_stays()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        await using AgentProcess agent = AgentProcess.Start(istiod);
        JsonObject first = await ReadyAsync(agent);

        agent.Set($"statusPort: {agent.StatusPort}", "SECRET_TTL=soon");
        agent.Signal("HUP");
        JsonObject state = await agent.StateAsync(s => Count(s, "refusals") == 1);
        Assert.Contains("SECRET_TTL: 'soon' is not a duration", state["replacement"]!["refused"]!.ToString(), StringComparison.Ordinal);
        Assert.False(state["replacement"]!["needsRestart"]!.GetValue<bool>());

        int other = FreePort.Next();
        agent.Set($"statusPort: {other}");
        agent.Signal("HUP");
        state = await agent.StateAsync(s => Count(s, "refusals") == 2);
        Assert.Contains($"status port {agent.StatusPort} would become status port {other}", state["replacement"]!["refused"]!.ToString(), StringComparison.Ordinal);
        Assert.True(state["replacement"]!["needsRestart"]!.GetValue<bool>());
        Assert.Equal((0, first["envoy"]!["pid"]!.GetValue<int>()), (Count(state, "count"), state["envoy"]!["pid"]!.GetValue<int>()));

        agent.Set($"statusPort: {agent.StatusPort}", "SECRET_GRACE_PERIOD_RATIO=0.4\nproxyLogLevel=debug");
        agent.Signal("HUP");
        await agent.StateAsync(s => Count(s, "count") == 1);
    }

    private static Task<JsonObject> ReadyAsync(AgentProcess agent) =>
        agent.StateAsync(s => s["replacement"] is JsonObject && s["envoy"]?["phase"]?.ToString() == "Running" && s["certificate"]?["until"] is not null);

    private static int Count(JsonObject state, string what) => state["replacement"]?[what]?.GetValue<int>() ?? -1;

    /// <summary>One question after the other; every one is answered.</summary>
    private static async Task<int> AskNamesAsync(AgentProcess agent, CancellationToken stop)
    {
        byte[] query = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 5, .. "nginx"u8, 7, .. "example"u8, 3, .. "com"u8, 0, 0, 1, 0, 1];
        int answered = 0;
        for (; !stop.IsCancellationRequested; answered++)
        {
            using var socket = new UdpClient();
            socket.Connect(new IPEndPoint(IPAddress.Loopback, agent.DnsPort));
            await socket.SendAsync(query, CancellationToken.None);
            Assert.Equal(0x12, (await socket.ReceiveAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline, CancellationToken.None)).Buffer[0]);
        }
        return answered;
    }

    /// <summary>One connection to the status port after the other: none is refused. The agent that leaves may close one that it has not heard of anything yet.</summary>
    private static async Task<int> KnockAsync(AgentProcess agent, CancellationToken stop)
    {
        int answered = 0;
        for (; !stop.IsCancellationRequested; answered++)
        {
            using var client = new TcpClient();
            try { await client.ConnectAsync(IPAddress.Loopback, agent.StatusPort, CancellationToken.None); }
            catch (SocketException e) when (e.SocketErrorCode != SocketError.ConnectionRefused) { }
        }
        return answered;
    }
}
