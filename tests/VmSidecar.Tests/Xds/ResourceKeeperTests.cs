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
            Begin(keeper);
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
            Begin(keeper);
            Accept(keeper, XdsTypeUrl.Listener, "l", 1);
            Accept(keeper, XdsTypeUrl.Cluster, "c1", 1);
            Accept(keeper, XdsTypeUrl.Cluster, "c2", 2, padding: 3000); // too much to hold
            Accept(keeper, XdsTypeUrl.Cluster, "c3", 3);
        });
        Assert.Null(Load()); // c1 and c3 without c2 is no state Envoy was in
        await RunAsync(2000, keeper =>
        {
            Begin(keeper); // the next stream begins with everything
            Accept(keeper, XdsTypeUrl.Cluster, "c1", 4);
        });
        Assert.Equal(["c1"], Load()!.Types[XdsTypeUrl.Cluster].ByName.Keys);
    }

    [Fact]
    public async Task A_new_stream_of_an_Envoy_that_holds_nothing_takes_the_place_of_what_is_kept()
    {
        await RunAsync(1 << 20, keeper =>
        {
            Begin(keeper);
            Accept(keeper, XdsTypeUrl.Listener, "l", 1);
            Accept(keeper, XdsTypeUrl.Cluster, "gone", 1);
            Accept(keeper, XdsTypeUrl.Cluster, "c1", 2);
            keeper.Forget();
            keeper.Begins(XdsTypeUrl.Cluster, holdsNothing: true); // gone was deleted meanwhile; nobody will say so
            Accept(keeper, XdsTypeUrl.Cluster, "c1", 3);
            Accept(keeper, XdsTypeUrl.Cluster, "c2", 4);
        });
        Assert.Equal(["c1", "c2"], Names());
    }

    [Fact]
    public async Task A_new_stream_of_an_Envoy_that_holds_something_continues_what_is_kept()
    {
        await RunAsync(1 << 20, keeper =>
        {
            Begin(keeper);
            Accept(keeper, XdsTypeUrl.Listener, "l", 1);
            Accept(keeper, XdsTypeUrl.Cluster, "c1", 1);
            keeper.Forget();
            keeper.Begins(XdsTypeUrl.Cluster, holdsNothing: false); // istiod names what is gone
            Accept(keeper, XdsTypeUrl.Cluster, "c2", 2);
        });
        Assert.Equal(["c1", "c2"], Names());
        await RunAsync(1 << 20, keeper => // a new agent does not know of which Envoy the disk tells: istiod's first answer is complete
        {
            keeper.Begins(XdsTypeUrl.Cluster, holdsNothing: false);
            Accept(keeper, XdsTypeUrl.Cluster, "c3", 3);
        });
        Assert.Equal(["c3"], Names());
    }

    [Fact]
    public async Task A_refused_beginning_leaves_what_was_kept_before()
    {
        await RunAsync(1 << 20, keeper =>
        {
            Begin(keeper);
            Accept(keeper, XdsTypeUrl.Listener, "l", 1);
            Accept(keeper, XdsTypeUrl.Cluster, "c1", 1);
            keeper.Forget();
            keeper.Begins(XdsTypeUrl.Cluster, holdsNothing: true);
            Accept(keeper, XdsTypeUrl.Cluster, "c2", 2, error: true);
            Accept(keeper, XdsTypeUrl.Cluster, "c3", 3); // alone it is no state Envoy was in
        });
        Assert.Equal(["c1"], Names());
        await RunAsync(1 << 20, keeper =>
        {
            keeper.Begins(XdsTypeUrl.Cluster, holdsNothing: true);
            keeper.Withheld(Envelope(XdsTypeUrl.Cluster, "c2", 2));
            Accept(keeper, XdsTypeUrl.Cluster, "c3", 3);
            keeper.Forget();
            keeper.Begins(XdsTypeUrl.Cluster, holdsNothing: true);
            Accept(keeper, XdsTypeUrl.Cluster, "c4", 4);
        });
        Assert.Equal(["c4"], Names());
    }

    [Fact]
    public async Task An_increment_on_a_file_that_is_gone_is_not_kept_until_a_stream_begins_anew()
    {
        string file = Path.Combine(_folder, "xds", "CDS.journal");
        using var keeper = new ResourceKeeper(_folder, _time, NullLogger.Instance) { IsLive = true };
        using var stop = new CancellationTokenSource();
        Task writing = keeper.RunAsync(stop.Token);
        Begin(keeper);
        Accept(keeper, XdsTypeUrl.Listener, "l", 1);
        Accept(keeper, XdsTypeUrl.Cluster, "c1", 1);
        await WrittenAsync(() => File.Exists(file));
        File.Delete(file); // everything in the state folder may be deleted at any time
        Accept(keeper, XdsTypeUrl.Cluster, "c2", 2);
        Accept(keeper, XdsTypeUrl.Listener, "l2", 3);
        await WrittenAsync(() => Kept(XdsTypeUrl.Listener)?.Count == 2);
        Assert.False(File.Exists(file));
        keeper.Forget();
        keeper.Begins(XdsTypeUrl.Cluster, holdsNothing: false);
        Accept(keeper, XdsTypeUrl.Cluster, "c3", 4);
        await stop.CancelAsync();
        await writing.WaitAsync(Test.Deadline);
        Assert.Equal(["c3"], Names());
    }

    [Fact]
    public async Task What_cannot_be_written_is_not_continued()
    {
        string file = Path.Combine(_folder, "xds", "CDS.journal");
        await RunAsync(1 << 20, keeper =>
        {
            Begin(keeper);
            Accept(keeper, XdsTypeUrl.Listener, "l", 1);
        });
        Directory.CreateDirectory(file); // as good as a full disk: the write fails
        using var keeper = new ResourceKeeper(_folder, _time, NullLogger.Instance) { IsLive = true };
        using var stop = new CancellationTokenSource();
        Task writing = keeper.RunAsync(stop.Token);
        Begin(keeper);
        Accept(keeper, XdsTypeUrl.Cluster, "c1", 1);
        Accept(keeper, XdsTypeUrl.Listener, "l2", 2);
        await WrittenAsync(() => Kept(XdsTypeUrl.Listener)?.ContainsKey("l2") == true);
        Directory.Delete(file);
        Accept(keeper, XdsTypeUrl.Cluster, "c2", 3);
        await stop.CancelAsync();
        await writing.WaitAsync(Test.Deadline);
        Assert.Null(Load()); // c2 without c1 is no state Envoy was in
    }

    [Theory]
    [InlineData("refused"), InlineData("lost"), InlineData("never came"), InlineData("withheld")]
    public async Task After_a_beginning_that_Envoy_never_took_the_next_stream_begins_anew(string way)
    {
        await RunAsync(1 << 20, keeper =>
        {
            Begin(keeper);
            Accept(keeper, XdsTypeUrl.Listener, "l", 1);
            Accept(keeper, XdsTypeUrl.Cluster, "old", 1);
            keeper.Forget();
            keeper.Begins(XdsTypeUrl.Cluster, holdsNothing: true); // another Envoy: old is not among what it holds
            switch (way)
            {
                case "refused": Accept(keeper, XdsTypeUrl.Cluster, "c2", 2, error: true); Accept(keeper, XdsTypeUrl.Cluster, "c3", 3); break;
                case "lost": keeper.Delivered(Envelope(XdsTypeUrl.Cluster, "c2", 2), GrpcMessage.Copy(Response(XdsTypeUrl.Cluster, "c2", 2))); break;
                case "withheld": keeper.Withheld(Envelope(XdsTypeUrl.Cluster, "c2", 2)); break;
                default: break;
            }
            keeper.Forget();
            keeper.Begins(XdsTypeUrl.Cluster, holdsNothing: false); // it took something all the same; istiod's first answer is complete
            Accept(keeper, XdsTypeUrl.Cluster, "c3", 4);
        });
        Assert.Equal(["c3"], Names());
    }

    [Theory, InlineData(false), InlineData(true)]
    public async Task A_write_that_fails_late_spoils_nothing_of_the_next_stream(bool accepted)
    {
        using var keeper = new ResourceKeeper(_folder, _time, NullLogger.Instance) { IsLive = true };
        using var stop = new CancellationTokenSource();
        Task writing = keeper.RunAsync(stop.Token);
        Begin(keeper);
        Accept(keeper, XdsTypeUrl.Listener, "l", 1);
        Accept(keeper, XdsTypeUrl.Cluster, "c1", 1);
        await WrittenAsync(() => Kept(XdsTypeUrl.Cluster)?.Count == 1 && Kept(XdsTypeUrl.Listener)?.Count == 1);
        var failing = new FailingPieces();
        Accept(keeper, XdsTypeUrl.Cluster, "c2", 2, failing);
        await WrittenAsync(() => failing.IsTakenUp);
        keeper.Forget();
        keeper.Begins(XdsTypeUrl.Cluster, holdsNothing: true);
        if (accepted) { Accept(keeper, XdsTypeUrl.Cluster, "c3", 3); }
        failing.Fail();
        await Test.UntilAsync(() => failing.IsDisposed); // that round is over
        if (!accepted) { Accept(keeper, XdsTypeUrl.Cluster, "c3", 3); }
        Accept(keeper, XdsTypeUrl.Cluster, "c4", 4);
        await stop.CancelAsync();
        await writing.WaitAsync(Test.Deadline);
        Assert.Equal(["c3", "c4"], Names());
    }

    private async Task WrittenAsync(Func<bool> written) => await Test.UntilAsync(() =>
    {
        _time.Advance(TimeSpan.FromSeconds(1)); // a burst is written a second later
        return written();
    });

    private IReadOnlyDictionary<string, byte[]>? Kept(string type)
    {
        using var reader = new ResourceKeeper(_folder, _time, NullLogger.Instance);
        return reader.Peek().GetValueOrDefault(type)?.ByName;
    }

    private IEnumerable<string> Names() => Load()!.Types[XdsTypeUrl.Cluster].ByName.Keys.Order(StringComparer.Ordinal);

    private static void Begin(ResourceKeeper keeper)
    {
        keeper.Forget();
        keeper.Begins(XdsTypeUrl.Cluster, holdsNothing: true);
        keeper.Begins(XdsTypeUrl.Listener, holdsNothing: true);
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

    private static void Accept(ResourceKeeper keeper, string type, string name, byte value, bool error = false, int padding = 0) =>
        Accept(keeper, type, name, value, GrpcMessage.Copy(Response(type, name, value, padding)), error);

    private static void Accept(ResourceKeeper keeper, string type, string name, byte value, IPieces message, bool error = false)
    {
        string nonce = name + value;
        keeper.Delivered(Envelope(type, name, value), message);
        ProtoWriter request = new ProtoWriter().String(2, type).String(6, nonce);
        if (error) { request.Message(7, new ProtoWriter().String(2, "no")); }
        Assert.True(XdsEnvelope.TryRead(XdsMessageKind.DeltaRequest, request.ToArray(), out XdsEnvelope? answer));
        keeper.Answered(answer);
    }

    private static byte[] Response(string type, string name, byte value, int padding = 0) => new ProtoWriter()
        .Message(2, new ProtoWriter().String(3, name).Bytes(2, Resource(value))).String(4, type).String(5, name + value).Bytes(900, new byte[padding]).ToArray();

    private static XdsEnvelope Envelope(string type, string name, byte value)
    {
        Assert.True(XdsEnvelope.TryRead(XdsMessageKind.DeltaResponse, Response(type, name, value), out XdsEnvelope? envelope));
        return envelope;
    }

    private static byte[] Resource(byte value) => new ProtoWriter().Bytes(2, [value]).ToArray();
}
