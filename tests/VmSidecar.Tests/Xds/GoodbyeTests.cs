using VmSidecar.Grpc;
using VmSidecar.Health;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>The workload's goodbye reaches istiod also where Envoy ends first, as at a stop without drain: the stream is not reset before it is written.</summary>
public sealed class GoodbyeTests
{
    [Theory, InlineData(true), InlineData(false)]
    public async Task Envoy_may_end_before_the_goodbye_has_gone(bool reset)
    {
        await using var bench = new RelayBench(delta: true, names: false);
        (PairedCall envoy, PairedCall istiod) = await LeavingAsync(bench);
        if (reset) { await envoy.Client.DisposeAsync(); } else { await envoy.Client.CompleteAsync(CancellationToken.None); }
        await bench.DelayAsync(); // the relay has seen it, and waits
        Assert.False((await HealthAsync(istiod)).HasError);
        Assert.Equal("the agent is stopping", (await HealthAsync(istiod)).ErrorMessage);
        Assert.Null(await istiod.Server.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline)); // half-closed, not reset
        istiod.End(GrpcStatus.Ok);
        await envoy.Ended.WaitAsync(Test.Deadline);
        Assert.Empty(bench.Istiod.Open);
    }

    [Fact]
    public async Task An_istiod_that_does_not_take_it_is_waited_for_a_second_at_most()
    {
        await using var bench = new RelayBench(delta: true, names: false);
        (PairedCall envoy, _) = await LeavingAsync(bench);
        await envoy.Client.DisposeAsync();
        Assert.Equal(TimeSpan.FromSeconds(1), await bench.DelayAsync());
        bench.Time.Advance(TimeSpan.FromSeconds(1));
        await Test.UntilAsync(() => bench.Istiod.Open.Count == 0);
    }

    [Theory, InlineData(true), InlineData(false)]
    public async Task A_push_on_its_way_to_an_Envoy_that_has_gone_does_not_cost_the_goodbye(bool seenByTheWriter)
    {
        await using var bench = new RelayBench(delta: true, names: false);
        (PairedCall envoy, PairedCall istiod) = await LeavingAsync(bench, envoysWindow: 1);
        byte[] push = Talk.Response(true, XdsTypeUrl.Cluster, "n1", new byte[100]);
        for (int i = 0; i < 3; i++) { await istiod.Server.SayAsync(push); } // one with Envoy, one being written to it, one not read
        if (seenByTheWriter) { envoy.FailWrites(); } else { await envoy.Client.DisposeAsync(); }
        await bench.DelayAsync(); // the relay has seen it, and waits
        Assert.False((await HealthAsync(istiod)).HasError);
        Assert.Equal("the agent is stopping", (await HealthAsync(istiod)).ErrorMessage);
        Assert.Null(await istiod.Server.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline)); // half-closed, not reset
        for (int i = 0; i < 5; i++) { await istiod.Server.SayAsync(push); } // more than its window: an istiod that pushes on is read to its end
        Assert.False(istiod.ClientGone.IsCancellationRequested);
        istiod.End(GrpcStatus.Ok);
        await envoy.Ended.WaitAsync(Test.Deadline);
        await envoy.Client.DisposeAsync();
    }

    [Fact]
    public async Task An_istiod_that_ends_the_stream_is_waited_for_no_longer_once_Envoy_has_gone()
    {
        await using var bench = new RelayBench(delta: true, names: false);
        (PairedCall envoy, PairedCall istiod) = await LeavingAsync(bench);
        await envoy.Client.DisposeAsync();
        Assert.Equal(TimeSpan.FromSeconds(1), await bench.DelayAsync());
        istiod.End(new GrpcStatus(GrpcStatusCode.Unavailable, "transport is closing"));
        await istiod.Gone.WaitAsync(Test.Deadline); // no time has passed
    }

    [Fact]
    public async Task A_stop_does_not_wait_for_an_istiod_that_has_ended_the_stream()
    {
        var bench = new RelayBench(delta: true, names: false);
        (PairedCall envoy, PairedCall istiod) = await LeavingAsync(bench);
        Task stopped = bench.DisposeAsync().AsTask();
        Assert.Equal(TimeSpan.FromSeconds(1), await bench.DelayAsync());
        istiod.End(new GrpcStatus(GrpcStatusCode.Unavailable, "transport is closing"));
        Assert.Equal("transport is closing", (await envoy.Ended.WaitAsync(Test.Deadline)).Message); // istiod's end, not the agent's leave
        await stopped.WaitAsync(Test.Deadline);
    }

    [Fact]
    public async Task Envoys_abort_ends_the_wait_for_what_istiod_has_to_say_to_a_half_close()
    {
        await using var bench = new RelayBench(delta: true, names: false);
        PairedCall envoy = bench.Envoy(delta: true);
        await envoy.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Cluster, Talk.Node));
        PairedCall istiod = await bench.Istiod.NextAsync();
        await istiod.Server.ReadBytesAsync();
        await envoy.Client.CompleteAsync(CancellationToken.None);
        Assert.Equal(TimeSpan.FromSeconds(5), await bench.DelayAsync());
        await envoy.Client.DisposeAsync();
        await istiod.Gone.WaitAsync(Test.Deadline); // no time has passed
    }

    [Fact]
    public async Task The_goodbye_arrives_however_it_meets_the_end_of_Envoys_requests()
    {
        string goodbye = new('b', 8 * 1024 * 1024); // long in the making, so that both loops are at it
        for (int i = 0; i < 20; i++)
        {
            await using var bench = new RelayBench(delta: true, names: false);
            (PairedCall envoy, PairedCall istiod) = await LeavingAsync(bench, window: 4, goodbye: goodbye);
            await envoy.Client.CompleteAsync(CancellationToken.None);
            Assert.False((await HealthAsync(istiod)).HasError);
            Assert.Equal(goodbye.Length, (await HealthAsync(istiod)).ErrorMessage.Length);
            Assert.Null(await istiod.Server.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline));
            istiod.End(GrpcStatus.Ok);
            await envoy.Ended.WaitAsync(Test.Deadline);
        }
    }

    [Fact]
    public async Task A_stream_that_told_no_health_ends_at_once()
    {
        await using var bench = new RelayBench(delta: true, names: false);
        PairedCall envoy = bench.Envoy(delta: true);
        await envoy.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Cluster, Talk.Node));
        PairedCall istiod = await bench.Istiod.NextAsync();
        await istiod.Server.ReadBytesAsync();
        bench.Health.Set(new HealthState(Healthy: false, "the agent is stopping") { IsLast = true });
        await envoy.Client.DisposeAsync();
        await Test.UntilAsync(() => bench.Istiod.Open.Count == 0);
    }

    /// <summary>The goodbye is the relay's to send, and istiod takes one message at a time.</summary>
    private static async Task<(PairedCall Envoy, PairedCall Istiod)> LeavingAsync(RelayBench bench, int window = 1, int envoysWindow = 4, string goodbye = "the agent is stopping")
    {
        bench.Istiod.Window = window;
        PairedCall envoy = bench.Envoy(delta: true, envoysWindow);
        await envoy.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Cluster, Talk.Node));
        PairedCall istiod = await bench.Istiod.NextAsync();
        await istiod.Server.ReadBytesAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Listener));
        await istiod.Server.ReadBytesAsync();
        bench.Health.Set(new HealthState(Healthy: true, ""));
        await Test.UntilAsync(() => istiod.Waiting == 1);
        bench.Health.Set(new HealthState(Healthy: false, goodbye) { IsLast = true });
        return (envoy, istiod);
    }

    private static async Task<XdsEnvelope> HealthAsync(PairedCall istiod)
    {
        XdsEnvelope health = await istiod.Server.ReadAsync(XdsMessageKind.DeltaRequest);
        Assert.Equal(XdsTypeUrl.Health, health.TypeUrl);
        return health;
    }
}
