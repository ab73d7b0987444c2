using System.Net;
using System.Net.Sockets;
using VmSidecar.Configuration;
using VmSidecar.Dns;
using VmSidecar.Lifecycle;
using VmSidecar.TestKit;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

public sealed class DnsServerTests
{
    private static readonly byte[] OneHost = DnsMessages.Nds(("a.example", ["240.240.0.1"], "External", "", ""));

    [Fact]
    public async Task With_a_table_that_comes_fifty_seconds_late_only_the_meshs_own_names_wait()
    {
        await using var upstream = new FakeUpstream((query, _) => [FakeUpstream.TypeOf(query) == DnsType.A && query.AsSpan().IndexOf("ledger"u8) < 0 ? DnsMessages.Reply(query, 0, 1, "192.0.2.1") : DnsMessages.Reply(query, DnsRcode.NxDomain, 1)]);
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync([upstream], time);
        for (int second = 0; second < 50; second++)
        {
            Assert.NotEmpty((await lab.AskAsync($"n{second}.example.net")).Answers);
            Assert.Equal("NXDOMAIN", (await lab.AskAsync("ledger.payments")).Rcode);
            time.Advance(TimeSpan.FromSeconds(1));
        }
        Assert.Null(lab.Server.Names.Accept(AnswerCasesTests.Fixture));
        Assert.Equal(["ledger.payments. 30 A 10.96.10.11"], (await lab.AskAsync("ledger.payments")).Answers); // at once, whatever upstream had said
        Assert.NotEmpty((await lab.AskAsync("n1.example.net")).Answers);
    }

    [Fact]
    public async Task Answers_over_udp_and_tcp_on_both_families()
    {
        await using DnsLab lab = await DnsLab.StartAsync(change: o => o with { Listen = [new(IPAddress.Loopback, 0), new(IPAddress.IPv6Loopback, 0)] });
        Assert.Null(lab.Server.Names.Accept(OneHost));
        Assert.Equal(["a.example. 30 A 240.240.0.1"], (await lab.AskAsync("a.example")).Answers);
        Assert.Equal(["a.example. 30 A 240.240.0.1"], (await lab.AskTcpAsync("a.example")).Answers);
        if (lab.Server.Bound.Length < 2) { return; } // a host without IPv6
        using var six = new UdpClient(AddressFamily.InterNetworkV6);
        six.Connect(lab.Server.Bound[1]);
        await six.SendAsync(DnsMessages.Query("a.example"));
        using var deadline = new CancellationTokenSource(Test.Deadline);
        Assert.Equal(["a.example. 30 A 240.240.0.1"], DnsMessages.Read((await six.ReceiveAsync(deadline.Token)).Buffer).Answers);
    }

    [Fact]
    public async Task Names_outside_the_mesh_resolve_before_the_first_table()
    {
        await using FakeUpstream upstream = FakeUpstream.Answering("192.0.2.1");
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider());
        DnsText reply = await lab.AskAsync("www.example.net");
        Assert.Equal(["www.example.net. 60 A 192.0.2.1"], reply.Answers);
        Assert.Equal(0x8180, reply.Header.Flags); // as upstream sent it
    }

    [Fact]
    public async Task Without_any_server_unknown_names_fail_at_once_and_mesh_names_resolve()
    {
        await using DnsLab lab = await DnsLab.StartAsync();
        Assert.Null(lab.Server.Names.Accept(OneHost));
        DnsText reply = await lab.AskAsync("www.example.net", edns: 1232);
        Assert.Equal("SERVFAIL", reply.Rcode);
        Assert.Equal("www.example.net. A", reply.Question);
        Assert.NotEmpty((await lab.AskAsync("a.example")).Answers);
    }

    [Fact]
    public async Task A_port_in_use_is_fatal_and_names_the_fix()
    {
        using var holder = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        holder.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        var taken = (IPEndPoint)holder.LocalEndPoint!;
        FatalException fatal = await Assert.ThrowsAsync<FatalException>(() => DnsLab.StartAsync(change: o => o with { Listen = [taken] }));
        Assert.Contains(taken.ToString(), fatal.Problem, StringComparison.Ordinal);
        Assert.Contains($"sport = :{taken.Port}", fatal.Fix, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_ipv6_address_the_host_does_not_have_is_a_warning()
    {
        await using DnsLab lab = await DnsLab.StartAsync(change: o => o with { Listen = [new(IPAddress.Loopback, 0), new(IPAddress.Parse("2001:db8:dead::1"), 0)] });
        Assert.Single(lab.Server.Bound);
        Assert.Contains(lab.Log.Lines, l => l.StartsWith("Warning: [2001:db8:dead::1]:0 does not exist on this host", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_last_table_serves_from_the_start_and_istiods_replaces_it()
    {
        await using DnsLab first = await DnsLab.StartAsync();
        Assert.Null(first.Server.Names.Accept(OneHost));
        await first.StopAsync(); // what waits to be written is written
        await using FakeUpstream upstream = FakeUpstream.Failing(DnsRcode.NxDomain);
        await using DnsLab second = await DnsLab.StartAsync([upstream], new ManualTimeProvider(), change: o => o with { StateDirectory = first.Options.StateDirectory });
        Assert.NotEmpty((await second.AskAsync("a.example")).Answers);
        Assert.True(second.Server.Names.Received.Current!.FromDisk);
        Assert.Null(second.Server.Names.Accept(DnsMessages.Nds(("b.example", ["240.240.0.2"], "External", "", ""))));
        Assert.NotEmpty((await second.AskAsync("b.example")).Answers);
        Assert.Equal("NXDOMAIN", (await second.AskAsync("a.example")).Rcode);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(first.TablePath));
    }

    [Fact]
    public async Task A_damaged_last_table_is_ignored()
    {
        await using DnsLab first = await DnsLab.StartAsync();
        Assert.Null(first.Server.Names.Accept(OneHost));
        await first.StopAsync();
        byte[] content = await File.ReadAllBytesAsync(first.TablePath);
        content[^1] ^= 1;
        await File.WriteAllBytesAsync(first.TablePath, content);
        await using DnsLab second = await DnsLab.StartAsync(change: o => o with { StateDirectory = first.Options.StateDirectory });
        Assert.Null(second.Server.Names.Received.Current);
        Assert.Contains(second.Log.Lines, l => l.Contains("is damaged and ignored", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_broken_table_is_refused_and_the_old_one_stays()
    {
        await using DnsLab lab = await DnsLab.StartAsync();
        Assert.Null(lab.Server.Names.Accept(OneHost));
        Assert.NotNull(lab.Server.Names.Accept([0x0a, 0x7f, 0x01]));
        Assert.NotNull(lab.Server.Names.Accept(DnsMessages.Field(1, DnsMessages.Field(1, [0xff, 0xfe])))); // not UTF-8
        Assert.NotEmpty((await lab.AskAsync("a.example")).Answers);
        Assert.Null(lab.Server.Names.Accept([])); // an empty table is a table
        Assert.Equal("SERVFAIL", (await lab.AskAsync("a.example")).Rcode);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task One_that_gives_way_waits_shortly_and_leaves_it_to_the_client_to_ask_the_next(bool portable)
    {
        await using FakeUpstream silent = FakeUpstream.Silent();
        var time = new ManualTimeProvider(); // nothing is asked twice, and the wait ends when this says so
        await using DnsLab lab = await DnsLab.StartAsync([silent], time, o => o with { Io = portable ? DnsIo.Portable : DnsIo.Auto });
        lab.MarkStopped();
        using var udp = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        await udp.ConnectAsync(lab.Address);
        await udp.SendAsync(DnsMessages.Query("one.example.net", DnsType.A), SocketFlags.None);
        await silent.AskedAsync();
        using Socket tcp = await lab.ConnectTcpAsync();
        await DnsLab.WriteTcpAsync(tcp, DnsMessages.Query("two.example.net", DnsType.A));
        await silent.AskedAsync();

        Task leaving = lab.Server.LeaveAsync(CancellationToken.None);
        (byte[] query, _, int port) = silent.Seen.First();
        await silent.SendAsync(DnsMessages.Reply(query, 0, 60, ["192.0.2.1"]), port);
        byte[] reply = new byte[512];
        using var deadline = new CancellationTokenSource(Test.Deadline);
        int length = await udp.ReceiveAsync(reply.AsMemory(), SocketFlags.None, deadline.Token);
        Assert.Equal(["one.example.net. 60 A 192.0.2.1"], DnsMessages.Read([.. reply.AsSpan(0, length)]).Answers); // in time
        Assert.False(leaving.IsCompleted);
        time.Advance(DnsServer.LeaveDrain);
        await leaving.WaitAsync(Test.Deadline, TestContext.Current.CancellationToken);
        Assert.Equal(0, await tcp.ReceiveAsync(reply.AsMemory(), SocketFlags.None, deadline.Token)); // closed, and no SERVFAIL before
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task What_is_cut_short_when_giving_way_gets_no_SERVFAIL_by_udp(bool portable)
    {
        await using FakeUpstream silent = FakeUpstream.Silent();
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync([silent], time, o => o with { Io = portable ? DnsIo.Portable : DnsIo.Auto });
        lab.MarkStopped();
        using var udp = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
        await udp.ConnectAsync(lab.Address);
        await udp.SendAsync(DnsMessages.Query("one.example.net", DnsType.A), SocketFlags.None);
        await silent.AskedAsync();
        Task leaving = lab.Server.LeaveAsync(CancellationToken.None);
        time.Advance(DnsServer.LeaveDrain);
        await leaving.WaitAsync(Test.Deadline, TestContext.Current.CancellationToken);
        Assert.Equal(0, udp.Available); // a reply is there once it is sent: loopback
    }

    [Fact]
    public async Task Resolv_conf_is_followed()
    {
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync(time: time, resolvConf: "nameserver 192.0.2.53\nsearch one.example");
        Assert.Null(lab.Server.Names.Accept(OneHost));
        Assert.Equal(["192.0.2.53:53"], lab.Server.Upstreams.Servers.Select(s => s.Endpoint.ToString()));
        Assert.NotEmpty((await lab.AskAsync("a.example.one.example")).Answers);
        await File.WriteAllTextAsync(lab.ResolvConfPath, "nameserver 192.0.2.54\nnameserver 192.0.2.53\nsearch two.example");
        Assert.Equal(ResolvConfFollower.Interval, await time.NextTimerAsync(Test.Deadline));
        time.Advance(ResolvConfFollower.Interval);
        await time.NextTimerAsync(Test.Deadline); // read, and waiting for the next turn
        Assert.Equal(["192.0.2.54:53", "192.0.2.53:53"], lab.Server.Upstreams.Servers.Select(s => s.Endpoint.ToString()));
        Assert.Equal(["a.example.two.example. 30 CNAME a.example.", "a.example. 30 A 240.240.0.1"], (await lab.AskAsync("a.example.two.example")).Answers);
    }

    [Fact]
    public async Task Metrics_exist_from_zero_under_the_peers_names()
    {
        await using DnsLab lab = await DnsLab.StartAsync();
        string page = lab.MetricsPage();
        Assert.Contains("istio_agent_dns_requests_total 0\n", page, StringComparison.Ordinal);
        Assert.Contains("istio_agent_dns_upstream_requests_total 0\n", page, StringComparison.Ordinal);
        Assert.Contains("istio_agent_dns_upstream_failures_total 0\n", page, StringComparison.Ordinal);
        Assert.Contains("istio_agent_dns_upstream_request_duration_seconds_bucket{le=\"0.001\"} 0\n", page, StringComparison.Ordinal);
        Assert.Contains("istio_agent_dns_answers_total{source=\"cache\",rcode=\"NXDOMAIN\"} 0\n", page, StringComparison.Ordinal);
        Assert.Null(lab.Server.Names.Accept(OneHost));
        await lab.AskAsync("a.example");
        page = lab.MetricsPage();
        Assert.Contains("istio_agent_dns_requests_total 1\n", page, StringComparison.Ordinal);
        Assert.Contains("istio_agent_dns_answers_total{source=\"table\",rcode=\"NOERROR\"} 1\n", page, StringComparison.Ordinal);
        Assert.Contains("istio_agent_dns_questions_total{type=\"A\"} 1\n", page, StringComparison.Ordinal);
    }
}
