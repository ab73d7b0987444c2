using VmSidecar.Grpc;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Peers;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>An istiod that says goodbye on a connection is left in order and after a random while: nothing received is lost, nobody comes as a wave, and there is one stream all along.</summary>
public sealed class GoAwayTests
{
    [Theory, InlineData(false), InlineData(true)]
    public async Task Envoys_stream_goes_on_for_a_while_and_then_ends_as_expected(bool delta)
    {
        await using var bench = new RelayBench(delta, names: false);
        (PairedCall envoy, PairedCall istiod) = await UpAsync(bench, delta);
        istiod.Leave();
        Assert.InRange(await bench.DelayAsync(), TimeSpan.Zero, TimeSpan.FromSeconds(5));
        await PushAsync(envoy, istiod, delta, "n2"); // what is under way goes on
        byte[] request = XdsMessages.Subscribe(delta, XdsTypeUrl.Listener);
        await envoy.Client.SayAsync(request);
        Assert.Equal(request, await istiod.Server.ReadBytesAsync());
        Assert.False(envoy.Ended.IsCompleted);
        bench.Time.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(new GrpcStatus(GrpcStatusCode.Unavailable, "transport is closing, received prior goaway: code: NO_ERROR"), await envoy.Ended.WaitAsync(Test.Deadline));
        Assert.Empty(bench.Istiod.Open);
        Assert.Single(bench.Log.Lines, l => l.StartsWith("Information xdsproxy istiod at istiod.istio-system.svc:15012 ended the stream after ", StringComparison.Ordinal));
        Assert.DoesNotContain(bench.Log.Lines, l => l.StartsWith("Warning", StringComparison.Ordinal));
    }

    [Theory, InlineData(256 * 1024), InlineData(16)]
    public async Task What_has_arrived_reaches_Envoy_first(int largeMessage)
    {
        await using var bench = new RelayBench(delta: true, names: false, largeMessage: largeMessage);
        PairedCall envoy = bench.Envoy(delta: true, window: 1);
        PairedCall istiod = await AskAsync(bench, envoy, delta: true);
        byte[][] pushes = [.. Enumerable.Range(1, 4).Select(i => Talk.Response(true, XdsTypeUrl.Cluster, "n" + i, new byte[3000]))];
        foreach (byte[] push in pushes) { await istiod.Server.SayAsync(push); }
        await Test.UntilAsync(() => bench.Log.Lines.Count(l => l.Contains("upstream response", StringComparison.Ordinal)) == 2); // Envoy reads none: the second waits to be sent, the others to be read
        istiod.Leave();
        await bench.DelayAsync();
        bench.Time.Advance(TimeSpan.FromSeconds(5));
        foreach (byte[] push in pushes) { Assert.Equal(push, await ReadAsync(envoy)); }
        Assert.Equal(GrpcStatusCode.Unavailable, (await envoy.Ended.WaitAsync(Test.Deadline)).Code);
    }

    [Fact]
    public async Task A_lost_stream_of_our_own_is_a_failure_whatever_the_transport_calls_it()
    {
        await using RelayBench bench = await new RelayBench(delta: true).StartAsync();
        PairedCall own = await bench.Istiod.NextAsync();
        await own.Server.ReadBytesAsync();
        await own.Server.SayAsync(Talk.Response(true, XdsTypeUrl.NameTable, "n1", [7]));
        await own.Server.ReadBytesAsync();
        own.End(IstiodGoodbye.Status); // as a stream that istiod's goodbye has cut; we have not left it
        Assert.InRange(await bench.DelayAsync(), TimeSpan.FromMilliseconds(10), TimeSpan.FromMilliseconds(500)); // one failure
        Assert.Equal(1, bench.Istiod.Dials);
        Assert.Single(bench.Log.Lines, l => l.StartsWith("Warning xdsproxy lost istiod at istiod.istio-system.svc:15012 after ", StringComparison.Ordinal));
        bench.Time.Advance(TimeSpan.FromMilliseconds(500));
        await bench.Istiod.NextAsync();
    }

    [Fact]
    public async Task A_message_that_has_begun_is_finished()
    {
        await using var bench = new RelayBench(delta: true, names: false, largeMessage: 16);
        PairedCall envoy = bench.Envoy(delta: true);
        PairedCall istiod = await AskAsync(bench, envoy, delta: true);
        TaskCompletionSource begun = new(TaskCreationOptions.RunContinuationsAsynchronously), goOn = new(TaskCreationOptions.RunContinuationsAsynchronously);
        istiod.BeforePiece = () =>
        {
            begun.TrySetResult();
            return goOn.Task;
        };
        byte[] push = Talk.Response(true, XdsTypeUrl.Cluster, "n1", new byte[30_000]);
        await istiod.Server.SayAsync(push);
        await begun.Task.WaitAsync(Test.Deadline);
        istiod.Leave();
        await bench.DelayAsync();
        bench.Time.Advance(TimeSpan.FromSeconds(5));
        goOn.SetResult();
        Assert.Equal(push, await ReadAsync(envoy));
        Assert.Equal(GrpcStatusCode.Unavailable, (await envoy.Ended.WaitAsync(Test.Deadline)).Code);
    }

    [Fact]
    public async Task Each_stream_waits_a_time_of_its_own()
    {
        await using var bench = new RelayBench(delta: true, names: false);
        List<TimeSpan> waits = [];
        for (int i = 0; i < 20; i++)
        {
            (PairedCall envoy, PairedCall istiod) = await UpAsync(bench, delta: true);
            istiod.Leave();
            waits.Add(await bench.DelayAsync());
            bench.Time.Advance(TimeSpan.FromSeconds(5));
            await envoy.Ended.WaitAsync(Test.Deadline);
        }
        Assert.All(waits, w => Assert.InRange(w, TimeSpan.Zero, TimeSpan.FromSeconds(5)));
        Assert.True(waits.Max() - waits.Min() > TimeSpan.FromSeconds(1), string.Join(' ', waits)); // one in a million million that all twenty fall into one second of five
    }

    [Fact]
    public async Task Over_the_wire_each_goodbye_leads_to_one_new_stream()
    {
        await using WireBench bench = await WireBench.StartedAsync(leaveWithin: TimeSpan.Zero);
        XdsStreamView own = await OneAsync(bench, s => s.Requests.All(r => r.Type != "CDS") && s.State("NDS") == SyncState.Synced);
        bench.Istiod.Ads.Goodbye();
        XdsStreamView again = await OneAsync(bench, s => s.Id != own.Id && s.State("NDS") == SyncState.Synced);
        string before = again.Id;
        for (int i = 0; i < 3; i++)
        {
            await using AdsPeer envoy = await bench.EnvoyAsync(delta: true);
            await envoy.AskDeltaAsync("CDS", node: WireBench.Node());
            Assert.NotNull(await envoy.NextDeltaAsync());
            before = (await OneAsync(bench, s => s.Id != before && s.State("CDS") != SyncState.NotSent && s.State("NDS") == SyncState.Synced)).Id;
            bench.Istiod.Ads.Goodbye();
            GrpcStatus end = await envoy.EndAsync();
            Assert.Equal(GrpcStatusCode.Unavailable, end.Code);
            Assert.Contains("received prior goaway: code: NO_ERROR", end.Message, StringComparison.Ordinal);
        }
        await OneAsync(bench, s => s.Requests.All(r => r.Type != "CDS") && s.State("NDS") == SyncState.Synced);
        Assert.DoesNotContain(bench.Log.Lines, l => l.StartsWith("Warning xdsproxy", StringComparison.Ordinal));
        Assert.Single(bench.Istiod.Registry.Entries);
        Assert.Empty(bench.Istiod.Violations);
    }

    private static async Task<XdsStreamView> OneAsync(WireBench bench, Func<XdsStreamView, bool> condition)
    {
        XdsStreamView? found = null;
        await bench.StreamsAsync(s => s is [var one] && condition(found = one), "one stream");
        return found!;
    }

    private static async Task<(PairedCall Envoy, PairedCall Istiod)> UpAsync(RelayBench bench, bool delta)
    {
        PairedCall envoy = bench.Envoy(delta);
        PairedCall istiod = await AskAsync(bench, envoy, delta);
        await PushAsync(envoy, istiod, delta, "n1");
        return (envoy, istiod);
    }

    private static async Task<PairedCall> AskAsync(RelayBench bench, PairedCall envoy, bool delta)
    {
        await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Cluster, Talk.Node));
        PairedCall istiod = await bench.Istiod.NextAsync();
        await istiod.Server.ReadBytesAsync();
        return istiod;
    }

    private static async Task PushAsync(PairedCall envoy, PairedCall istiod, bool delta, string nonce)
    {
        byte[] push = Talk.Response(delta, XdsTypeUrl.Cluster, nonce, [1]);
        await istiod.Server.SayAsync(push);
        Assert.Equal(push, await ReadAsync(envoy));
    }

    private static Task<byte[]> ReadAsync(PairedCall envoy) => envoy.Client.ReadBytesAsync();
}
