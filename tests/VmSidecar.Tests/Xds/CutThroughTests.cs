using VmSidecar.Grpc;
using VmSidecar.Linux.Memory;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>Large responses, passed on while they arrive: what Envoy gets, and what it never gets.</summary>
public sealed class CutThroughTests
{
    [Theory, InlineData(false), InlineData(true)]
    public async Task An_envelope_that_belies_its_resources_never_reaches_Envoy_and_costs_one_stream(bool delta)
    {
        await using var bench = new RelayBench(delta, names: true, largeMessage: 64);
        byte[] response = Lying(delta);
        for (int stream = 0; stream < 2; stream++)
        {
            (PairedCall envoy, PairedCall istiod) = await OpenAsync(bench, delta);
            await istiod.Server.SayAsync(response);
            if (stream == 0)
            {
                Assert.Equal(GrpcStatusCode.Internal, (await envoy.Ended.WaitAsync(Test.Deadline)).Code); // reset: nothing of it was a message
                Assert.Null(await envoy.Client.ReadAsync(CancellationToken.None));
                continue;
            }
            Assert.Equal(XdsTypeUrl.NameTable, (await istiod.Server.ReadAsync(Talk.Requests(delta))).TypeUrl); // gathered first: taken as the name table it says it is
            byte[] next = Talk.Response(delta, XdsTypeUrl.Endpoints, "n2", new byte[500]);
            await istiod.Server.SayAsync(next);
            Assert.Equal(next, await envoy.Client.ReadBytesAsync());
        }
    }

    [Theory, InlineData(false), InlineData(true)]
    public async Task A_name_table_of_any_size_stays_here(bool delta)
    {
        await using var bench = new RelayBench(delta, names: true, largeMessage: 64);
        (PairedCall envoy, PairedCall istiod) = await OpenAsync(bench, delta);
        byte[] table = new ProtoWriter().Message(1, new ProtoWriter().String(1, "a.example.com").Bytes(2, new byte[100_000])).ToArray();
        await istiod.Server.SayAsync(Talk.Response(delta, XdsTypeUrl.NameTable, "t1", table));
        XdsEnvelope ack = await istiod.Server.ReadAsync(Talk.Requests(delta));
        Assert.Equal(("t1", false), (ack.Nonce, ack.HasError));
        Assert.Equal(table, Assert.Single(bench.Names.Tables));
        byte[] skipped = Talk.Response(delta, "type.googleapis.com/unasked.Thing", "s1", new byte[5000]), next = Talk.Response(delta, XdsTypeUrl.Endpoints, "n2", new byte[500]);
        await istiod.Server.SayAsync(skipped);
        await istiod.Server.SayAsync(next);
        Assert.Equal(next, await envoy.Client.ReadBytesAsync());
    }

    [Theory, InlineData(false), InlineData(true)]
    public async Task It_goes_on_in_full_blocks_however_it_comes(bool delta)
    {
        await using var bench = new RelayBench(delta, names: false);
        (PairedCall envoy, PairedCall istiod) = await OpenAsync(bench, delta);
        byte[] response = Talk.Response(delta, XdsTypeUrl.Endpoints, "n1", new byte[3 * NativeBlock.Size]);
        await istiod.Server.SayAsync(response);
        Assert.Equal(response, await envoy.Client.ReadBytesAsync());
        Assert.InRange(envoy.PiecesSent, 4, 5); // the first, which showed the type, then blocks
    }

    [Theory, InlineData(false), InlineData(true)]
    public async Task Clusters_are_mended_while_they_arrive_as_they_are_when_whole(bool delta)
    {
        byte[] response = Talk.Response(delta, XdsTypeUrl.Cluster, "n1", [.. Enumerable.Range(0, 50).Select(i => Cluster(i, i % 3 != 0))]);
        byte[][] got = new byte[2][];
        foreach (int way in (int[])[0, 1])
        {
            await using var bench = new RelayBench(delta, names: false, largeMessage: way == 0 ? int.MaxValue : 64);
            (PairedCall envoy, PairedCall istiod) = await OpenAsync(bench, delta, stock: true);
            await istiod.Server.SayAsync(response);
            got[way] = await envoy.Client.ReadBytesAsync();
            await Test.UntilAsync(() => bench.Proxy.Status.LeftOut.Length > 0); // noted once Envoy has the message
            Assert.Equal(["istio.metadata_exchange"], bench.Proxy.Status.LeftOut);
        }
        Assert.Equal(got[0], got[1]);
        Assert.Equal(Talk.Response(delta, XdsTypeUrl.Cluster, "n1", [.. Enumerable.Range(0, 50).Select(i => Cluster(i, filter: false))]), got[1]);
    }

    [Theory, InlineData(false), InlineData(true)]
    public async Task An_istiod_that_ends_within_a_large_message_has_Envoys_stream_reset(bool stock)
    {
        await using var bench = new RelayBench(delta: true, names: false, largeMessage: 64);
        (PairedCall envoy, PairedCall istiod) = await OpenAsync(bench, delta: true, stock);
        istiod.CutAfter = 3000;
        await istiod.Server.SayAsync(Talk.Response(true, XdsTypeUrl.Cluster, "n1", Cluster(1, filter: true), new byte[9000]));
        istiod.End(new GrpcStatus(GrpcStatusCode.Unavailable, "connection lost"));
        GrpcStatus status = await envoy.Ended.WaitAsync(Test.Deadline);
        Assert.Equal(stock ? GrpcStatusCode.Unavailable : GrpcStatusCode.Internal, status.Code); // mended ones have not begun to go out: the status says what happened
        Assert.Null(await envoy.Client.ReadAsync(CancellationToken.None));
        await Test.UntilAsync(() => bench.Log.Lines.Any(l => l.Contains("terminated", StringComparison.Ordinal)));
        Assert.Contains("Warning xdsproxy upstream terminated with unexpected error rpc error: code = Unavailable desc = connection lost\tid=1", bench.Log.Lines);
        Assert.DoesNotContain(bench.Log.Lines, l => l.Contains("downstream terminated", StringComparison.Ordinal)); // the reset of Envoy's stream is ours, not Envoy's end
    }

    [Fact]
    public Task An_Envoy_that_goes_before_a_large_message_begins_leaves_no_block() => OwnProcess.RunAsync($"{typeof(CutThroughTests).FullName}.{nameof(Gone)}");

    /// <summary>The body, for a process of its own: the blocks in use are those of all of it.</summary>
    [Fact(Explicit = true)]
    public async Task Gone()
    {
        int before = NativeBlock.InUse;
        await using (var bench = new RelayBench(delta: true, names: false, largeMessage: 64))
        {
            (PairedCall envoy, PairedCall istiod) = await OpenAsync(bench, delta: true);
            istiod.BeforePiece = () => envoy.Client.DisposeAsync().AsTask(); // the session is cancelled when the first piece comes
            await istiod.Server.SayAsync(Talk.Response(true, XdsTypeUrl.Cluster, "n1", new byte[9000]));
            await envoy.Ended.WaitAsync(Test.Deadline);
        }
        Assert.Equal(before, NativeBlock.InUse);
    }

    internal static async Task<(PairedCall Envoy, PairedCall Istiod)> OpenAsync(RelayBench bench, bool delta, bool stock = false)
    {
        PairedCall envoy = bench.Envoy(delta);
        byte[] node = stock ? [.. Talk.Node, .. new ProtoWriter().Message(9, new ProtoWriter().String(1, "envoy.filters.network.tcp_proxy")).ToArray()] : Talk.Node;
        await envoy.Client.SayAsync(XdsMessages.Subscribe(delta, XdsTypeUrl.Cluster, node));
        PairedCall istiod = await bench.Istiod.NextAsync();
        await istiod.Server.ReadBytesAsync();
        if (bench.Options.SubscribeNames) { await istiod.Server.ReadBytesAsync(); }
        return (envoy, istiod);
    }

    private static byte[] Cluster(int i, bool filter)
    {
        ProtoWriter cluster = new ProtoWriter().String(1, "outbound|80||s" + i).Bytes(43, new byte[200]);
        if (filter) { cluster.Message(40, new ProtoWriter().String(1, "istio.metadata_exchange").Message(2, new ProtoWriter().String(1, "type.googleapis.com/" + IstioFilters.TcpMetadataExchange))); }
        return cluster.ToArray();
    }

    /// <summary>Says name table at its end, and clusters in its resources.</summary>
    private static byte[] Lying(bool delta)
    {
        byte[] clusters = Talk.Response(delta, XdsTypeUrl.Endpoints, "n1", new byte[9000]);
        return [.. clusters, .. new ProtoWriter().String(4, XdsTypeUrl.NameTable).ToArray()]; // the last occurrence of a field counts
    }
}

/// <summary>Memory outside the managed heap.</summary>
public sealed class NativeBlockTests
{
    [Fact]
    public Task What_is_freed_is_freed_once_and_cannot_be_touched() => OwnProcess.RunAsync($"{typeof(NativeBlockTests).FullName}.{nameof(Counted)}");

    /// <summary>The body, for a process of its own: the blocks in use are those of all of it.</summary>
    [Fact(Explicit = true)]
    public void Counted()
    {
        int before = NativeBlock.InUse;
        var list = new PieceList();
        byte[] content = new byte[(3 * NativeBlock.Size) + 17];
        new Random(1).NextBytes(content);
        list.Append(content);
        Assert.Equal((content.Length, before + 4), (list.Length, NativeBlock.InUse));
        Memory<byte> kept = list.Room();
        GrpcMessage message = list.Move();
        Assert.Equal(0, list.Length);
        list.Dispose();
        Assert.Equal(content, message.Pieces.SelectMany(p => p.ToArray()));
        Assert.Equal(content, message.Body.ToArray()); // put together: the blocks are free
        Assert.Equal(before, NativeBlock.InUse);
        Assert.Throws<ObjectDisposedException>(() => kept.Span[0]);
        message.Dispose();
        message.Dispose();
        Assert.Throws<ObjectDisposedException>(() => message.Body);
        Assert.Equal(before, NativeBlock.InUse);
    }
}
