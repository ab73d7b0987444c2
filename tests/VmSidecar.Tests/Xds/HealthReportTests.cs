using VmSidecar.Grpc;
using VmSidecar.Health;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>Health is a state, not an event (reference 03 sections 4.2, 7.4 and 14.8); what Envoy asks is passed on, however large.</summary>
public sealed class HealthReportTests
{
    [Theory, InlineData(false), InlineData(true)]
    public async Task The_last_state_follows_the_first_LDS_of_each_stream_and_is_told_again_from_time_to_time(bool delta)
    {
        await using var bench = new RelayBench(delta, names: false);
        await bench.StartAsync();
        (PairedCall envoy, PairedCall istiod) = await OpenAsync(bench, delta);
        bench.Health.Set(new HealthState(Healthy: false, "early")); // nothing goes before the first LDS
        await AskAsync(envoy, istiod, delta, XdsTypeUrl.Endpoints);
        await AskAsync(envoy, istiod, delta, XdsTypeUrl.Listener);
        Assert.Equal("early", (await ReadHealthAsync(istiod, delta)).ErrorMessage);
        bench.Health.Set(new HealthState(Healthy: true, ""));
        Assert.False((await ReadHealthAsync(istiod, delta)).HasError);
        await AskAsync(envoy, istiod, delta, XdsTypeUrl.Listener); // a second one brings nothing
        istiod.End(new GrpcStatus(GrpcStatusCode.Unavailable, "transport is closing"));
        await envoy.Ended.WaitAsync(Test.Deadline);

        bench.Health.Set(new HealthState(Healthy: false, "one"));
        bench.Health.Set(new HealthState(Healthy: true, ""));
        bench.Health.Set(new HealthState(Healthy: false, "last"));
        (envoy, istiod) = await OpenAsync(bench, delta);
        await AskAsync(envoy, istiod, delta, XdsTypeUrl.Listener);
        Assert.Equal("last", (await ReadHealthAsync(istiod, delta)).ErrorMessage);
        Task<XdsEnvelope> again = ReadHealthAsync(istiod, delta);
        while (!again.IsCompleted) // the moment its timer is armed is not announced
        {
            bench.Time.Advance(TimeSpan.FromMinutes(5));
            await Task.WhenAny(again, Task.Delay(TimeSpan.FromMilliseconds(5), TimeProvider.System));
        }
        Assert.Equal("last", (await again).ErrorMessage);
    }

    [Fact]
    public async Task A_request_that_comes_near_istiods_limit_is_passed_on_and_told_once_with_the_remedy()
    {
        await using var bench = new RelayBench(delta: true, names: false);
        (PairedCall envoy, PairedCall istiod) = await OpenAsync(bench, delta: true);
        byte[] large = [.. XdsMessages.Subscribe(true, XdsTypeUrl.Endpoints), .. new ProtoWriter().Bytes(900, new byte[3 * 1024 * 1024]).Written.Span];
        for (int i = 0; i < 2; i++)
        {
            await envoy.Client.SayAsync(large);
            Assert.Equal(large, await istiod.Server.ReadBytesAsync());
        }
        Assert.Contains("ISTIO_GPRC_MAXRECVMSGSIZE", Assert.Single(bench.Log.Lines, l => l.StartsWith("Warning xdsproxy a request of Envoy's", StringComparison.Ordinal)), StringComparison.Ordinal);
    }

    private static async Task<(PairedCall Envoy, PairedCall Istiod)> OpenAsync(RelayBench bench, bool delta)
    {
        PairedCall envoy = bench.Envoy(delta);
        byte[] first = XdsMessages.Subscribe(delta, XdsTypeUrl.Cluster, Talk.Node);
        await envoy.Client.SayAsync(first);
        PairedCall istiod = await bench.Istiod.NextAsync();
        Assert.Equal(first, await istiod.Server.ReadBytesAsync());
        return (envoy, istiod);
    }

    private static async Task AskAsync(PairedCall envoy, PairedCall istiod, bool delta, string type)
    {
        byte[] request = XdsMessages.Subscribe(delta, type);
        await envoy.Client.SayAsync(request);
        Assert.Equal(request, await istiod.Server.ReadBytesAsync());
    }

    private static async Task<XdsEnvelope> ReadHealthAsync(PairedCall istiod, bool delta)
    {
        XdsEnvelope health = await istiod.Server.ReadAsync(Talk.Requests(delta));
        Assert.Equal(XdsTypeUrl.Health, health.TypeUrl);
        return health;
    }
}
