using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.EnvoyApi.Names;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Istiod.Peers;

using Xunit;

namespace VmSidecar.Integration.Tests;

/// <summary>One stream to istiod at a time, whoever comes and goes; registration follows the data plane.</summary>
public sealed class StreamTests
{
    [Theory]
    [InlineData(IstiodVersion.V1_10)]
    [InlineData(IstiodVersion.V1_31)]
    public async Task Envoys_stream_takes_the_place_of_the_agents_own_and_gives_it_back(object version)
    {
        await using FakeIstiod istiod = await StartTests.StartAsync(new IstiodOptions { Version = (IstiodVersion)version });
        bool delta = (IstiodVersion)version != IstiodVersion.V1_10;
        await using RunningAgent agent = RunningAgent.Start(RunningAgent.Onboard(istiod), istiod);
        await istiod.UntilAsync(i => i.Streams is [var own] && own.State("NDS") == SyncState.Synced && own.Delta == delta, "the agent's own stream");
        Assert.Equal("", istiod.Streams.Single().Node.Group);
        Assert.Empty(istiod.Registry.Entries);

        await using (AdsPeer envoy = await agent.EnvoyAsync(delta))
        {
            await AskAsync(envoy, delta, "CDS", agent.Node());
            await AskAsync(envoy, delta, "LDS");
            await istiod.UntilAsync(i => i.Streams is [var joint] && joint.Node.Group == "nginx" && joint.State("NDS") == SyncState.Synced, "the joint stream alone");
            Assert.Equal("nginx-10.99.0.2", istiod.Registry.Entries.Single().Name);
            Assert.True(istiod.Registry.Entries.Single().IsConnected);
        }
        await istiod.UntilAsync(i => i.Streams is [var own] && own.Node.Group.Length == 0 && own.State("NDS") == SyncState.Synced, "the agent's own stream again");
        Assert.False(istiod.Registry.Entries.Single().IsConnected);
        Assert.Empty(istiod.Violations);
    }

    [Fact]
    public async Task A_stop_says_goodbye_before_the_stream_ends_so_that_istiod_offers_the_VM_no_more()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        using var application = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        application.Start();
        var probe = new Configuration.ProbeOptions { Timeout = VmSidecar.TestKit.Test.Deadline, Tcp = new Configuration.TcpProbe(((System.Net.IPEndPoint)application.LocalEndpoint).Port, "127.0.0.1") };
        await using RunningAgent agent = RunningAgent.Start(RunningAgent.Onboard(istiod), istiod, o => o with { Probe = probe });
        await istiod.UntilAsync(i => i.Streams is [var own] && own.State("NDS") == SyncState.Synced, "the agent is up");
        await using AdsPeer envoy = await agent.EnvoyAsync(delta: true);
        EnvoyApi.Core.Node node = agent.Node();
        node.Metadata.Fields["PROXY_CONFIG"] = Google.Protobuf.WellKnownTypes.Value.ForStruct(Google.Protobuf.WellKnownTypes.Struct.Parser.ParseJson("""{"readinessProbe":{"tcpSocket":{"port":1}}}"""));
        await AskAsync(envoy, true, "CDS", node);
        await AskAsync(envoy, true, "LDS");
        await istiod.UntilAsync(i => i.Registry.Entries is [{ Healthy.Status: true, IsOffered: true }], "healthy and offered");

        await agent.StopAsync();

        await istiod.UntilAsync(i => i.Registry.Entries is [{ Healthy: { Status: false, Message: "the agent is stopping" }, IsOffered: false, IsConnected: false }], "goodbye, then gone");
        Assert.Empty(istiod.Violations);
    }

    [Fact]
    public async Task What_istiod_sends_reaches_Envoy_byte_for_byte_and_names_do_not()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync(new IstiodOptions { Version = IstiodVersion.V1_10 });
        istiod.Source = RecordedSource.Load("istiod-1.31-sotw");
        await using RunningAgent agent = RunningAgent.Start(RunningAgent.Onboard(istiod), istiod);
        await istiod.UntilAsync(i => i.Streams.Length == 1, "own stream");
        await using AdsPeer envoy = await agent.EnvoyAsync(delta: false);
        EnvoyApi.Core.Node node = agent.Node();
        foreach (string name in new[] { "istio.metadata_exchange", "istio.alpn", "istio_authn", "istio.stats" })
        {
            node.Extensions.Add(new EnvoyApi.Core.Extension { Name = name }); // Istio's Envoy: nothing is left out
        }
        await envoy.AskAsync("CDS", node: node);
        DiscoveryResponse clusters = (await envoy.NextAsync())!;
        string recorded = Path.Combine(AppContext.BaseDirectory, "Recorded", "istiod-1.31-sotw");
        Assert.Equal(DiscoveryResponse.Parser.ParseFrom(await File.ReadAllBytesAsync(Path.Combine(recorded, "00-Cluster.binpb"))).Resources, clusters.Resources);
        await envoy.AskAsync("CDS", answers: clusters);
        await envoy.AskAsync("LDS");
        DiscoveryResponse listeners = (await envoy.NextAsync())!; // NDS was consumed on the way
        Assert.Equal(DiscoveryResponse.Parser.ParseFrom(await File.ReadAllBytesAsync(Path.Combine(recorded, "02-Listener.binpb"))).Resources, listeners.Resources);
        await envoy.AskAsync("LDS", answers: listeners, error: "no such filter");
        await istiod.UntilAsync(i => i.Streams is [var joint] && joint.State("LDS") == SyncState.Error && joint.State("CDS") == SyncState.Synced && joint.State("NDS") == SyncState.Synced, "ACK, NACK and the agent's own ACK");
        Assert.Empty(istiod.Violations);
    }

    [Theory]
    [InlineData("kill")]
    [InlineData("stop")]
    [InlineData("age")]
    public async Task An_istiod_that_is_lost_and_comes_back_finds_one_stream_and_the_names_stay(string how)
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        await using RunningAgent agent = RunningAgent.Start(RunningAgent.Onboard(istiod), istiod);
        await istiod.UntilAsync(i => i.Streams is [var own] && own.State("NDS") == SyncState.Synced, "own stream");
        byte[] before = await DnsAsync(agent);
        switch (how)
        {
            case "kill": await istiod.KillAsync(); break;
            case "stop": await istiod.StopAsync(); break;
            default:
                istiod.Ads.Goodbye();
                istiod.Ads.End(new Grpc.GrpcStatus(Grpc.GrpcStatusCode.Unavailable, "max connection age"));
                break;
        }
        Assert.Equal(before[^4..], (await DnsAsync(agent))[^4..]); // the address of the virtual host, from memory
        if (how != "age") { await istiod.StartAsync(); }
        await istiod.UntilAsync(i => i.Streams is [var again] && again.Id != "stream-1" && again.State("NDS") == SyncState.Synced, "a new stream");
        Assert.False(agent.Ended.IsCompleted);
        Assert.Empty(istiod.Violations);
    }

    [Fact]
    public async Task Envoys_stream_ends_when_istiod_goes_and_its_next_one_is_served()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        await using RunningAgent agent = RunningAgent.Start(RunningAgent.Onboard(istiod), istiod);
        await istiod.UntilAsync(i => i.Streams is [var own] && own.State("NDS") == SyncState.Synced, "own stream");
        await using (AdsPeer first = await agent.EnvoyAsync(delta: true))
        {
            await first.AskDeltaAsync("CDS", node: agent.Node());
            Assert.NotNull(await first.NextDeltaAsync());
            await istiod.KillAsync();
            await first.EndAsync();
        }
        await istiod.StartAsync();
        await using AdsPeer second = await agent.EnvoyAsync(delta: true);
        await second.AskDeltaAsync("CDS", node: agent.Node(), held: ["outbound|80||nginx.example.com", "outbound|80||gone.example.com"]);
        DeltaDiscoveryResponse clusters = (await second.NextDeltaAsync())!;
        Assert.Equal(["outbound|80||gone.example.com"], clusters.RemovedResources);
        await istiod.UntilAsync(i => i.Streams is [var joint] && joint.Node.Group == "nginx", "one joint stream");
        Assert.Empty(istiod.Violations);
    }

    [Fact]
    public async Task The_name_table_answers_with_the_address_istiod_allocated()
    {
        await using FakeIstiod istiod = await StartTests.StartAsync();
        await using RunningAgent agent = RunningAgent.Start(RunningAgent.Onboard(istiod), istiod);
        await istiod.UntilAsync(i => i.Streams is [var own] && own.State("NDS") == SyncState.Synced, "names");
        byte[] answer = await DnsAsync(agent);
        string expected = NameTable.Parser.ParseFrom(istiod.Source.Generate(istiod.Streams.Single().Node, XdsTypes.NameTable, null)!.Single().Resource.Value).Table[ScenarioMesh.Host].Ips.Single();
        Assert.Equal(expected, new System.Net.IPAddress(answer[^4..]).ToString());
    }

    private static Task AskAsync(AdsPeer envoy, bool delta, string type, EnvoyApi.Core.Node? node = null) =>
        delta ? envoy.AskDeltaAsync(type, node: node) : envoy.AskAsync(type, node: node);

    /// <summary>Asks the agent for the virtual host's A record; the answer without EDNS ends with the address.</summary>
    private static async Task<byte[]> DnsAsync(RunningAgent agent)
    {
        byte[] query = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 5, .. "nginx"u8, 7, .. "example"u8, 3, .. "com"u8, 0, 0, 1, 0, 1];
        using var udp = new System.Net.Sockets.UdpClient();
        using var deadline = new CancellationTokenSource(VmSidecar.TestKit.Test.Deadline);
        await udp.SendAsync(query, agent.Dns, deadline.Token);
        byte[] answer = (await udp.ReceiveAsync(deadline.Token)).Buffer;
        Assert.Equal(1, answer[7]); // one answer
        return answer;
    }
}
