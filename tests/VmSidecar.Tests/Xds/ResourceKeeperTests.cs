using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.Grpc;
using VmSidecar.TestKit;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>What is kept for an offline start is what Envoy accepted, all of it, or nothing: never a state that Envoy was not in.</summary>
public sealed class ResourceKeeperTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vsc-keep-").FullName;
    private readonly ManualTimeProvider _time = new();

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_burst_is_written_as_if_one_by_one()
    {
        await RunAsync(1 << 20, keeper =>
        {
            Accept(keeper, XdsTypeUrl.Listener, "l", 1);
            for (byte i = 1; i <= 100; i++) { Accept(keeper, XdsTypeUrl.Cluster, "c" + i % 7, i); }
            Accept(keeper, XdsTypeUrl.Cluster, "refused", 1, error: true);
        });
        KeptResources clusters = Load()!.Types[XdsTypeUrl.Cluster];
        Assert.Equal(["c0", "c1", "c2", "c3", "c4", "c5", "c6"], clusters.ByName.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(Resource(100), clusters.ByName["c2"]);
    }

    [Fact]
    public async Task An_increment_that_found_no_room_leaves_nothing_kept_until_a_stream_begins_anew()
    {
        await RunAsync(2000, keeper =>
        {
            Accept(keeper, XdsTypeUrl.Listener, "l", 1);
            Accept(keeper, XdsTypeUrl.Cluster, "c1", 1);
            Accept(keeper, XdsTypeUrl.Cluster, "c2", 2, padding: 3000); // too much to hold
            Accept(keeper, XdsTypeUrl.Cluster, "c3", 3);
        });
        Assert.Null(Load()); // c1 and c3 without c2 is no state Envoy was in
        await RunAsync(2000, keeper =>
        {
            keeper.Forget(); // the stream ended; the next begins with everything
            Accept(keeper, XdsTypeUrl.Cluster, "c1", 4);
        });
        Assert.Equal(["c1"], Load()!.Types[XdsTypeUrl.Cluster].ByName.Keys);
    }

    private async Task RunAsync(long mostHeld, Action<ResourceKeeper> day)
    {
        using var keeper = new ResourceKeeper(_folder, _time, NullLogger.Instance, mostHeld) { IsLive = true };
        using var stop = new CancellationTokenSource();
        Task writing = keeper.RunAsync(stop.Token);
        day(keeper);
        await stop.CancelAsync();
        await writing.WaitAsync(Test.Deadline);
    }

    private OfflineResources? Load()
    {
        using var keeper = new ResourceKeeper(_folder, _time, NullLogger.Instance);
        return keeper.Load(TimeSpan.FromHours(1));
    }

    private static void Accept(ResourceKeeper keeper, string type, string name, byte value, bool error = false, int padding = 0)
    {
        string nonce = name + value;
        byte[] response = new ProtoWriter().Message(2, new ProtoWriter().String(3, name).Bytes(2, Resource(value)))
            .String(4, type).String(5, nonce).Bytes(900, new byte[padding]).ToArray();
        Assert.True(XdsEnvelope.TryRead(XdsMessageKind.DeltaResponse, response, out XdsEnvelope? envelope));
        keeper.Delivered(envelope, GrpcMessage.Copy(response));
        ProtoWriter request = new ProtoWriter().String(2, type).String(6, nonce);
        if (error) { request.Message(7, new ProtoWriter().String(2, "no")); }
        Assert.True(XdsEnvelope.TryRead(XdsMessageKind.DeltaRequest, request.ToArray(), out XdsEnvelope? answer));
        keeper.Answered(answer);
    }

    private static byte[] Resource(byte value) => new ProtoWriter().Bytes(2, [value]).ToArray();
}
