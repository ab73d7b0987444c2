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
    private static async Task<(PairedCall Envoy, PairedCall Istiod)> LeavingAsync(RelayBench bench)
    {
        bench.Istiod.Window = 1;
        PairedCall envoy = bench.Envoy(delta: true);
        await envoy.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Cluster, Talk.Node));
        PairedCall istiod = await bench.Istiod.NextAsync();
        await istiod.Server.ReadBytesAsync();
        await envoy.Client.SayAsync(XdsMessages.Subscribe(true, XdsTypeUrl.Listener));
        await istiod.Server.ReadBytesAsync();
        bench.Health.Set(new HealthState(Healthy: true, ""));
        await Test.UntilAsync(() => istiod.Waiting == 1);
        bench.Health.Set(new HealthState(Healthy: false, "the agent is stopping") { IsLast = true });
        return (envoy, istiod);
    }

    private static async Task<XdsEnvelope> HealthAsync(PairedCall istiod)
    {
        XdsEnvelope health = await istiod.Server.ReadAsync(XdsMessageKind.DeltaRequest);
        Assert.Equal(XdsTypeUrl.Health, health.TypeUrl);
        return health;
    }
}
