using System.Net.Sockets;
using VmSidecar.TestKit;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

public sealed class TcpSessionTests
{
    private static readonly byte[] OneHost = DnsMessages.Nds(("a.example", ["240.240.0.1"], "External", "", ""));

    [Fact]
    public async Task Pipelined_queries_are_all_answered_and_a_slow_one_holds_up_nobody()
    {
        await using FakeUpstream silent = FakeUpstream.Silent();
        await using DnsLab lab = await DnsLab.StartAsync([silent], new ManualTimeProvider());
        Assert.Null(lab.Server.Names.Accept(OneHost));
        using Socket socket = await lab.ConnectTcpAsync();
        await DnsLab.WriteTcpAsync(socket, DnsMessages.Query("slow.example.net", id: 1));
        for (ushort id = 2; id < 300; id++) { await DnsLab.WriteTcpAsync(socket, DnsMessages.Query("a.example", id: id)); } // more than the classic agent's 128
        for (ushort id = 2; id < 300; id++) { Assert.Equal(id, DnsMessages.Read(await DnsLab.ReadTcpAsync(socket)).Header.Id); }
        await silent.AskedAsync(); // the slow one was on its way all the time
        await lab.StopAsync(now: true);
    }

    [Fact]
    public async Task A_server_that_closes_tcp_without_a_word_is_asked_by_udp_and_keeps_its_good_name()
    {
        await using var upstream = new FakeUpstream((query, tcp) => tcp ? [] : [DnsMessages.Reply(query, 0, 60, "192.0.2.1")], closesTcp: true);
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider());
        Assert.Equal(["www.example.net. 60 A 192.0.2.1"], (await lab.AskTcpAsync("www.example.net")).Answers);
        Assert.False(lab.Server.Upstreams.Servers[0].Health.IsDown);
        Assert.Equal([true, false], upstream.Seen.Select(s => s.Tcp));
    }

    [Fact]
    public async Task A_server_whose_tcp_is_filtered_is_asked_by_udp_after_two_seconds()
    {
        await using var upstream = new FakeUpstream((query, tcp) => tcp ? [] : [DnsMessages.Reply(query, 0, 60, "192.0.2.1")]);
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync([upstream], time);
        Task<DnsText> asked = lab.AskTcpAsync("www.example.net");
        await upstream.AskedAsync();
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.NotEmpty((await asked).Answers);
    }

    [Fact]
    public async Task Bytes_may_come_one_by_one()
    {
        await using DnsLab lab = await DnsLab.StartAsync();
        Assert.Null(lab.Server.Names.Accept(OneHost));
        using Socket socket = await lab.ConnectTcpAsync();
        socket.NoDelay = true;
        byte[] query = DnsMessages.Query("a.example");
        foreach (byte b in (byte[])[0, (byte)query.Length, .. query]) { await socket.SendAsync(new[] { b }, SocketFlags.None); }
        Assert.NotEmpty(DnsMessages.Read(await DnsLab.ReadTcpAsync(socket)).Answers);
    }

    [Fact]
    public async Task A_thousand_connections_are_served_and_stuck_ones_closed()
    {
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync(time: time);
        Assert.Null(lab.Server.Names.Accept(OneHost));
        List<Socket> sockets = [];
        for (int i = 0; i < 1000; i++) { sockets.Add(await lab.ConnectTcpAsync()); }
        foreach (Socket socket in sockets) { await DnsLab.WriteTcpAsync(socket, DnsMessages.Query("a.example")); }
        foreach (Socket socket in sockets) { Assert.NotEmpty(DnsMessages.Read(await DnsLab.ReadTcpAsync(socket)).Answers); }
        Assert.NotEmpty((await lab.AskAsync("a.example")).Answers); // and UDP beside them
        time.Advance(TimeSpan.FromSeconds(8)); // idle for too long
        foreach (Socket socket in sockets)
        {
            using var deadline = new CancellationTokenSource(Test.Deadline);
            Assert.Equal(0, await socket.ReceiveAsync(new byte[1].AsMemory(), SocketFlags.None, deadline.Token));
            socket.Dispose();
        }
    }

    [Fact]
    public async Task A_client_that_says_nothing_is_closed_after_two_seconds()
    {
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync(time: time);
        using Socket socket = await lab.ConnectTcpAsync();
        await socket.SendAsync(new byte[] { 0 }, SocketFlags.None); // half a length
        await ForwarderTests.ArmedAsync(time, TimeSpan.FromSeconds(2));
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.True(await EndsAsync(socket));
    }

    [Fact]
    public async Task A_client_that_does_not_read_loses_its_connection_only()
    {
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync(time: time);
        Assert.Null(lab.Server.Names.Accept(DnsMessages.Nds(("big.example", [.. Enumerable.Range(0, 2000).Select(i => $"10.1.{i / 250}.{i % 250}")], "External", "", ""), ("a.example", ["240.240.0.1"], "External", "", ""))));
        using Socket socket = await lab.ConnectTcpAsync();
        socket.ReceiveBufferSize = 4096;
        byte[] query = DnsMessages.Query("big.example");
        byte[] many = [.. Enumerable.Range(0, 400).SelectMany(_ => (byte[])[0, (byte)query.Length, .. query])];
        await socket.SendAsync(many, SocketFlags.None); // 400 answers of 58 KB that nobody takes
        Task<TimeSpan> armed = Task.Run(async () => { while (true) { TimeSpan due = await time.NextTimerAsync(Test.Deadline); if (due == TimeSpan.FromSeconds(5)) { return due; } } });
        await armed;
        Assert.NotEmpty((await lab.AskAsync("a.example")).Answers);
        bool closed = false;
        while (!closed)
        {
            time.Advance(TimeSpan.FromSeconds(5));
            Assert.NotEmpty((await lab.AskTcpAsync("a.example")).Answers);
            closed = socket.Poll(0, SelectMode.SelectError) || await IsClosedAsync(socket);
        }
    }

    [Fact]
    public async Task What_gets_silence_by_udp_ends_a_connection()
    {
        await using DnsLab lab = await DnsLab.StartAsync();
        using Socket socket = await lab.ConnectTcpAsync();
        byte[] response = DnsMessages.Reply(DnsMessages.Query("a.example"), DnsRcode.NxDomain);
        await DnsLab.WriteTcpAsync(socket, response);
        Assert.True(await EndsAsync(socket));
    }

    /// <summary>Waits for the server's end: an orderly one, or a reset where it left something unread.</summary>
    private static async Task<bool> EndsAsync(Socket socket)
    {
        using var deadline = new CancellationTokenSource(Test.Deadline);
        try { return await socket.ReceiveAsync(new byte[1].AsMemory(), SocketFlags.None, deadline.Token) == 0; }
        catch (SocketException e) { return e.SocketErrorCode == SocketError.ConnectionReset; }
    }

    /// <summary>Reads what is there; true at the end or a reset.</summary>
    private static async Task<bool> IsClosedAsync(Socket socket)
    {
        try
        {
            while (socket.Available > 0) { await socket.ReceiveAsync(new byte[65536].AsMemory(), SocketFlags.None); }
            return socket.Poll(1000, SelectMode.SelectRead) && socket.Available == 0;
        }
        catch (SocketException)
        {
            return true;
        }
    }
}
