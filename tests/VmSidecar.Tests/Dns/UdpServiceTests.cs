using System.Net;
using System.Net.Sockets;
using VmSidecar.Configuration;
using VmSidecar.Dns;
using VmSidecar.Linux.Sockets;
using VmSidecar.Metrics;
using VmSidecar.TestKit;
using Xunit;

namespace VmSidecar.Tests.Dns;

public sealed class UdpServiceTests
{
    private static readonly byte[] OneHost = DnsMessages.Nds(("a.example", ["240.240.0.1"], "External", "", ""));

    public static TheoryData<string> Ways => [nameof(DnsIo.Auto), nameof(DnsIo.Portable)];

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task Both_ways_answer_from_the_table_from_upstream_and_from_the_cache(string way)
    {
        await using FakeUpstream upstream = FakeUpstream.Answering("192.0.2.1");
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider(), change: o => o with { Io = Enum.Parse<DnsIo>(way) });
        Assert.Null(lab.Server.Names.Accept(OneHost));
        Assert.Equal(["a.example. 30 A 240.240.0.1"], (await lab.AskAsync("a.example")).Answers);
        Assert.Equal(["www.example.net. 60 A 192.0.2.1"], (await lab.AskAsync("www.example.net")).Answers);
        Assert.StartsWith("www.example.net. ", (await lab.AskAsync("www.example.net")).Answers.Single(), StringComparison.Ordinal);
        Assert.Equal(1, upstream.Count);
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task Both_ways_survive_hostile_datagrams_and_answer_the_next_query(string way)
    {
        await using DnsLab lab = await DnsLab.StartAsync(change: o => o with { Io = Enum.Parse<DnsIo>(way) });
        Assert.Null(lab.Server.Names.Accept(OneHost));
        using var hostile = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        await hostile.ConnectAsync(lab.Address);
        var random = new Random(7);
        for (int i = 0; i < 300; i++)
        {
            byte[] junk = new byte[i % 50 == 0 ? 9000 : random.Next(0, 600)]; // longer than what is received of one
            random.NextBytes(junk);
            if (junk.Length > 2) { junk[2] &= 0x7f; } // not an answer
            await hostile.SendAsync(junk, SocketFlags.None);
        }
        Assert.Equal(["a.example. 30 A 240.240.0.1"], (await lab.AskAsync("a.example")).Answers);
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task A_long_query_is_read_whole(string way) // case 51: the classic agent reads 512 bytes and answers FORMERR
    {
        const int Padding = 550;
        await using DnsLab lab = await DnsLab.StartAsync(change: o => o with { Io = Enum.Parse<DnsIo>(way) });
        Assert.Null(lab.Server.Names.Accept(OneHost));
        byte[] query = [.. DnsMessages.Query("a.example"), 0, 0, 41, 4, 208, 0, 0, 0, 0, (Padding + 4) >> 8, (Padding + 4) & 255, 0, 12, Padding >> 8, Padding & 255, .. new byte[Padding]];
        query[11] = 1; // one additional record: EDNS with padding (RFC 7830)
        Assert.Equal(["a.example. 30 A 240.240.0.1"], DnsMessages.Read(await lab.AskRawAsync(query)).Answers);
    }

    [Fact]
    public async Task A_burst_of_many_batches_is_answered_whole()
    {
        const int Burst = 5 * UdpService.Batch + 3;
        await using DnsLab lab = await DnsLab.StartAsync();
        Assert.Null(lab.Server.Names.Accept(OneHost));
        using var client = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        await client.ConnectAsync(lab.Address);
        for (ushort id = 0; id < Burst; id++) { await client.SendAsync(DnsMessages.Query("a.example", id: id), SocketFlags.None); }
        using var deadline = new CancellationTokenSource(Test.Deadline);
        HashSet<int> ids = [];
        byte[] reply = new byte[512];
        while (ids.Count < Burst)
        {
            int length = await client.ReceiveAsync(reply.AsMemory(), SocketFlags.None, deadline.Token);
            DnsText text = DnsMessages.Read(reply.AsSpan(0, length));
            Assert.Equal(["a.example. 30 A 240.240.0.1"], text.Answers);
            ids.Add(text.Header.Id);
        }
    }

    [Fact]
    public async Task An_answer_leaves_from_the_address_that_was_asked()
    {
        await using FakeUpstream upstream = FakeUpstream.Answering("192.0.2.1");
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider(), change: o => o with { Listen = [new(IPAddress.Any, 0)] });
        Assert.Null(lab.Server.Names.Accept(OneHost));
        using var client = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        await client.ConnectAsync(IPAddress.Parse("127.0.0.5"), lab.Address.Port); // connected: takes nothing from 127.0.0.1
        using var deadline = new CancellationTokenSource(Test.Deadline);
        byte[] reply = new byte[512];
        foreach (string name in (string[])["a.example", "www.example.net"]) // from the table; from upstream, later
        {
            await client.SendAsync(DnsMessages.Query(name), SocketFlags.None);
            int length = await client.ReceiveAsync(reply.AsMemory(), SocketFlags.None, deadline.Token);
            Assert.Single(DnsMessages.Read(reply.AsSpan(0, length)).Answers);
        }
    }

    [Fact]
    public async Task More_sockets_share_an_address_that_stays_closed_to_others()
    {
        await using DnsLab lab = await DnsLab.StartAsync();
        using var first = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        first.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        DatagramSocket.ShareAddress(first);
        using var second = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        DatagramSocket.ShareAddress(second);
        second.Bind(first.LocalEndPoint!);
        using var stranger = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        Assert.Throws<SocketException>(() => stranger.Bind(first.LocalEndPoint!));
    }

    [Fact]
    public async Task Receiving_answering_and_sending_a_batch_allocates_nothing()
    {
        await using DnsLab lab = await DnsLab.StartAsync();
        Assert.Null(lab.Server.Names.Accept(OneHost));
        var state = new DnsState(new NameScope("payments", "payments.svc.cluster.local", compat110: false));
        state.UseNames(NameTableBuilder.FromNds(OneHost, state.Scope, out _)!);
        var metrics = new DnsMetrics(new MetricRegistry());
        var handler = new QueryHandler(state, new Answerer(compat110: false), lab.Server.Upstreams, new LoopWatch(lab.Server.Upstreams, metrics, TimeProvider.System, lab.Log), metrics, lab.Log);
        using ReadyLoop loop = ReadyLoop.TryCreate()!;
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        using var receiver = new DatagramReceiver(UdpService.Batch, Answerer.EdnsSize);
        using var worker = new UdpLoopWorker(socket, loop, receiver, handler, new Outstanding());
        using var client = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        client.Connect(socket.LocalEndPoint!);
        byte[] query = DnsMessages.Query("a.example"), reply = new byte[512];

        long allocated = 0;
        for (int round = 0; round < 60; round++)
        {
            for (int i = 0; i < UdpService.Batch; i++) { client.Send(query); }
            long before = GC.GetAllocatedBytesForCurrentThread();
            worker.Ready();
            worker.Flush();
            if (round >= 30) { allocated += GC.GetAllocatedBytesForCurrentThread() - before; }
            for (int i = 0; i < UdpService.Batch; i++) { Assert.True(client.Receive(reply) > query.Length); }
        }
        Assert.Equal(0, allocated);
        worker.Close();
    }
}
