using VmSidecar.Grpc;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>Two Envoys at once (hot restart), and gRPC clients without a proxy beside Envoy: nobody evicts anybody in a loop.</summary>
public sealed class JointSeatTests
{
    private static readonly PeerProcess Old = new(10, 100), Young = new(20, 200);
    private static readonly byte[] Proxyless = new ProtoWriter().String(1, "n").String(6, "gRPC Node Pure JS").ToArray();

    [Fact]
    public async Task The_newer_Envoy_keeps_the_stream_and_the_older_one_is_parked()
    {
        await using var bench = new RelayBench(delta: true, names: false);
        PairedCall old = await SpeakingAsync(bench, Old), oldIstiod = await bench.Istiod.NextAsync();
        PairedCall young = await SpeakingAsync(bench, Young), istiod = await bench.Istiod.NextAsync();
        Assert.Equal(GrpcStatus.Ok, await old.Ended.WaitAsync(Test.Deadline));
        Assert.True(oldIstiod.ClientGone.IsCancellationRequested);

        PairedCall again = await SpeakingAsync(bench, Old); // as Envoy does within half a second of any end
        await bench.Log.UntilAsync(l => l.Contains("Envoy 10 is replaced by 20", StringComparison.Ordinal));
        await istiod.Server.SayAsync(Talk.Response(true, XdsTypeUrl.Cluster, "n1", [1]));
        Assert.Equal("n1", (await young.Client.ReadAsync(XdsMessageKind.DeltaResponse)).Nonce);
        Assert.Same(istiod, Assert.Single(bench.Istiod.Open));
        Assert.False(again.Ended.IsCompleted);
        Assert.False(young.Ended.IsCompleted);
    }

    [Fact]
    public async Task A_parked_Envoy_is_served_again_when_the_newer_one_stays_away()
    {
        await using var bench = new RelayBench(delta: true, names: false);
        PairedCall young = await SpeakingAsync(bench, Young);
        await bench.Istiod.NextAsync();
        PairedCall old = await SpeakingAsync(bench, Old);
        await bench.Log.UntilAsync(l => l.Contains("is replaced by", StringComparison.Ordinal));
        await young.Client.DisposeAsync(); // it has died
        while (await bench.DelayAsync() != TimeSpan.FromSeconds(5)) { }
        bench.Time.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(GrpcStatusCode.Unavailable, (await old.Ended.WaitAsync(Test.Deadline)).Code);
        PairedCall back = await SpeakingAsync(bench, Old), istiod = await bench.Istiod.NextAsync();
        Assert.Same(istiod, Assert.Single(bench.Istiod.Open));
        Assert.False(back.Ended.IsCompleted);
    }

    [Fact]
    public async Task When_istiod_rotates_the_connection_the_parked_one_does_not_slip_in()
    {
        await using var bench = new RelayBench(delta: true, names: false);
        PairedCall young = await SpeakingAsync(bench, Young), istiod = await bench.Istiod.NextAsync();
        PairedCall old = await SpeakingAsync(bench, Old);
        await bench.Log.UntilAsync(l => l.Contains("is replaced by", StringComparison.Ordinal));
        istiod.End(new GrpcStatus(GrpcStatusCode.Unavailable, "closing"));
        await young.Ended.WaitAsync(Test.Deadline);
        while (await bench.DelayAsync() != TimeSpan.FromSeconds(5)) { }
        bench.Time.Advance(TimeSpan.FromSeconds(4));
        PairedCall back = await SpeakingAsync(bench, Young), again = await bench.Istiod.NextAsync();
        bench.Time.Advance(TimeSpan.FromSeconds(60));
        await again.Server.SayAsync(Talk.Response(true, XdsTypeUrl.Cluster, "n2", [1]));
        Assert.Equal("n2", (await back.Client.ReadAsync(XdsMessageKind.DeltaResponse)).Nonce);
        Assert.False(old.Ended.IsCompleted);
    }

    [Fact]
    public async Task A_client_without_a_proxy_gets_a_stream_beside_Envoys_with_nothing_added()
    {
        await using var bench = new RelayBench(delta: true);
        PairedCall envoy = await SpeakingAsync(bench, Old), joint = await bench.Istiod.NextAsync();
        PairedCall client = await SpeakingAsync(bench, Young, Proxyless), aside = await bench.Istiod.NextAsync();
        Assert.Equal(XdsTypeUrl.Cluster, (await aside.Server.ReadAsync(XdsMessageKind.DeltaRequest)).TypeUrl);
        await client.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Listener));
        Assert.Equal(XdsTypeUrl.Listener, (await aside.Server.ReadAsync(XdsMessageKind.DeltaRequest)).TypeUrl); // no name table was asked for between
        await aside.Server.SayAsync(Talk.Response(true, XdsTypeUrl.Listener, "g1", [1]));
        Assert.Equal("g1", (await client.Client.ReadAsync(XdsMessageKind.DeltaResponse)).Nonce);
        Assert.Equal([joint, aside], bench.Istiod.Open);
        Assert.False(envoy.Ended.IsCompleted);
        await client.Client.DisposeAsync();
        await joint.Server.SayAsync(Talk.Response(true, XdsTypeUrl.Cluster, "n1", [1]));
        Assert.Equal("n1", (await envoy.Client.ReadAsync(XdsMessageKind.DeltaResponse)).Nonce);
    }

    [Fact]
    public async Task Envoy_takes_the_agents_stream_from_a_client_without_a_proxy_that_comes_back_beside_it()
    {
        await using var bench = new RelayBench(delta: true, names: false);
        PairedCall client = await SpeakingAsync(bench, Old, Proxyless), first = await bench.Istiod.NextAsync();
        await first.Server.ReadBytesAsync();
        PairedCall envoy = await SpeakingAsync(bench, Young), joint = await bench.Istiod.NextAsync();
        Assert.Equal(GrpcStatusCode.Unavailable, (await client.Ended.WaitAsync(Test.Deadline)).Code);
        PairedCall back = await SpeakingAsync(bench, Old, Proxyless), aside = await bench.Istiod.NextAsync();
        Assert.Equal([joint, aside], bench.Istiod.Open);
        Assert.False(envoy.Ended.IsCompleted || back.Ended.IsCompleted);
    }

    [Fact]
    public async Task Envoy_takes_it_also_from_a_client_without_a_proxy_that_began_later()
    {
        await using var bench = new RelayBench(delta: true, names: false);
        PairedCall client = await SpeakingAsync(bench, Young, Proxyless), first = await bench.Istiod.NextAsync();
        await first.Server.ReadBytesAsync();
        await SpeakingAsync(bench, Old);
        PairedCall joint = await bench.Istiod.NextAsync();
        Assert.Equal(GrpcStatusCode.Unavailable, (await client.Ended.WaitAsync(Test.Deadline)).Code);
        Assert.Equal([joint], bench.Istiod.Open);
    }

    [Theory]
    [InlineData(1, 100, 2, 100, false)] // the same tick: the higher id is the newer
    [InlineData(2, 100, 1, 200, false)]
    [InlineData(2, 200, 1, 100, true)]
    [InlineData(1, 200, 1, 200, false)]
    [InlineData(0, 0, 1, 100, false)]   // unknown
    [InlineData(1, 100, 0, 0, false)]
    public void Newer_is_who_began_later(int id, long started, int otherId, long otherStarted, bool newer) =>
        Assert.Equal(newer, new PeerProcess(id, started).IsNewerThan(new PeerProcess(otherId, otherStarted)));

    [Fact]
    public async Task The_kernel_tells_who_is_at_the_other_end_of_the_socket()
    {
        string path = Path.Combine(Directory.CreateTempSubdirectory("vsc-peer-").FullName, "s");
        var seen = new TaskCompletionSource<PeerProcess>(TaskCreationOptions.RunContinuationsAsynchronously);
        using var server = new GrpcServer(
            GrpcServerOptions.OnSocket("peer", path),
            new Dictionary<string, GrpcHandler>(StringComparer.Ordinal) { ["/a/b"] = (call, _) => { seen.SetResult(call.Process); return Task.FromResult(GrpcStatus.Ok); } },
            new ListLog().CreateLogger("peer"));
        await server.StartAsync(CancellationToken.None);
        await using (var channel = new GrpcChannel(GrpcChannelOptions.For("unix:" + path)))
        await using (IGrpcClientCall call = await channel.OpenAsync("/a/b", [], CancellationToken.None))
        {
            Assert.Equal(PeerProcess.Of(Environment.ProcessId), await seen.Task.WaitAsync(Test.Deadline));
        }
        Assert.NotEqual(0, PeerProcess.Of(Environment.ProcessId).Started);
        await server.StopAsync(CancellationToken.None);
        Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
    }

    private static async Task<PairedCall> SpeakingAsync(RelayBench bench, PeerProcess process, byte[]? node = null)
    {
        PairedCall call = bench.Envoy(delta: true, process: process);
        await call.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Cluster, node ?? Talk.Node));
        return call;
    }
}
