using System.Net;
using VmSidecar.Dns;
using VmSidecar.TestKit;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

public sealed class ForwarderTests
{
    [Theory]
    [InlineData(DnsRcode.ServFail)]
    [InlineData(DnsRcode.Refused)]
    [InlineData(DnsRcode.NotImp)]
    public async Task A_failing_server_is_passed_over(int rcode) // case 43: the classic agent returns the first one's refusal
    {
        await using FakeUpstream bad = FakeUpstream.Failing(rcode), good = FakeUpstream.Answering("192.0.2.1");
        await using DnsLab lab = await DnsLab.StartAsync([bad, good], new ManualTimeProvider());
        Assert.Equal(["www.example.net. 60 A 192.0.2.1"], (await lab.AskAsync("www.example.net")).Answers);
        Assert.Equal(1, bad.Count);
    }

    [Fact]
    public async Task When_all_fail_the_first_failure_is_returned()
    {
        await using FakeUpstream one = FakeUpstream.Failing(DnsRcode.Refused), two = FakeUpstream.Failing(DnsRcode.ServFail);
        await using DnsLab lab = await DnsLab.StartAsync([one, two], new ManualTimeProvider());
        Assert.Equal("REFUSED", (await lab.AskAsync("www.example.net")).Rcode);
    }

    [Fact]
    public async Task Nxdomain_is_an_answer_and_passed_on_with_its_soa() // case 42
    {
        await using FakeUpstream one = FakeUpstream.Failing(DnsRcode.NxDomain), two = FakeUpstream.Answering("192.0.2.1");
        await using DnsLab lab = await DnsLab.StartAsync([one, two], new ManualTimeProvider());
        DnsText reply = await lab.AskAsync("www.example.net");
        Assert.Equal("NXDOMAIN", reply.Rcode);
        Assert.Equal(["upstream.test. 60 SOA ns.upstream.test."], reply.Authorities);
        Assert.Equal(0, two.Count);
    }

    [Fact]
    public async Task A_closed_port_costs_nothing() // case 44
    {
        await using FakeUpstream good = FakeUpstream.Answering("192.0.2.1");
        var time = new ManualTimeProvider(); // no hedge can fire
        await using DnsLab lab = await DnsLab.StartAsync(time: time);
        lab.Server.Upstreams.UseServers([await ClosedPortAsync(), good.Endpoint]);
        Assert.NotEmpty((await lab.AskAsync("www.example.net")).Answers);
    }

    [Fact]
    public async Task A_silent_server_costs_one_hedge_delay_and_later_nothing()
    {
        await using FakeUpstream silent = FakeUpstream.Silent(), good = FakeUpstream.Answering("192.0.2.1", ttl: 0);
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync([silent, good], time);
        for (int i = 0; i < 3; i++)
        {
            Task<DnsText> asked = lab.AskAsync("www.example.net");
            await ArmedAsync(time, UpstreamExchange.HedgeDelay);
            time.Advance(UpstreamExchange.HedgeDelay);
            Assert.NotEmpty((await asked).Answers);
            await silent.AskedAsync(); // its datagram may be read after the other's answer
        }
        int before = silent.Count;
        Assert.NotEmpty((await lab.AskAsync("www.example.net")).Answers); // no timer advanced: the good one was asked first
        Assert.Equal(before, silent.Count);
        Assert.Same(lab.Server.Upstreams.Servers[1], UpstreamExchange.InOrder(lab.Server.Upstreams.Servers)[0]);
        time.Advance(TimeSpan.FromSeconds(3)); // it is tried again after a while
        Assert.Same(lab.Server.Upstreams.Servers[0], UpstreamExchange.InOrder(lab.Server.Upstreams.Servers)[0]);
        Assert.Same(lab.Server.Upstreams.Servers[1], UpstreamExchange.InOrder(lab.Server.Upstreams.Servers)[0]); // by one question, not by all
    }

    [Fact]
    public async Task The_late_answer_of_the_first_server_still_counts()
    {
        byte[]? held = null;
        await using var slow = new FakeUpstream((query, _) => { held = DnsMessages.Reply(query, 0, 60, "192.0.2.7"); return []; });
        await using FakeUpstream silent = FakeUpstream.Silent();
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync([slow, silent], time);
        Task<DnsText> asked = lab.AskAsync("www.example.net");
        await ArmedAsync(time, UpstreamExchange.HedgeDelay);
        time.Advance(UpstreamExchange.HedgeDelay);
        await slow.AskedAsync();
        await silent.AskedAsync();
        await slow.SendAsync(held!, slow.Seen.First().Port);
        Assert.Equal(["www.example.net. 60 A 192.0.2.7"], (await asked).Answers);
    }

    [Fact]
    public async Task Silence_everywhere_ends_in_servfail_with_the_timeout() // case 45
    {
        await using FakeUpstream one = FakeUpstream.Silent(), two = FakeUpstream.Silent();
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync([one, two], time);
        Task<DnsText> asked = lab.AskAsync("www.example.net");
        DateTimeOffset begin = time.GetUtcNow();
        await RunClockAsync(time, asked);
        DnsText reply = await asked;
        Assert.Equal(("SERVFAIL", "www.example.net. A", 0x8102), (reply.Rcode, reply.Question, reply.Header.Flags));
        Assert.InRange(time.GetUtcNow() - begin, lab.Options.ForwardTimeout, lab.Options.ForwardTimeout + TimeSpan.FromSeconds(1));
        await Test.UntilAsync(() => one.Count >= 2 && two.Count >= 2); // a lost packet is sent again; the clock here is quicker than their sockets
        Assert.Contains("istio_agent_dns_upstream_failures_total 1\n", lab.MetricsPage(), StringComparison.Ordinal);
    }

    [Theory] // cases 46, 47: the classic agent fails on the long answer and passes the cut one on
    [InlineData(-1)]
    [InlineData(4096)]
    public async Task A_cut_answer_is_fetched_by_tcp_and_fitted_to_the_client(int edns)
    {
        string[] many = [.. Enumerable.Range(1, 60).Select(i => $"192.0.2.{i}")];
        await using var upstream = new FakeUpstream((query, tcp) =>
        {
            byte[] whole = DnsMessages.Reply(query, 0, 60, many);
            if (tcp) { return [whole]; }
            byte[] cut = DnsMessages.Reply(query);
            cut[2] |= 2;
            return [cut];
        });
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider());
        DnsText reply = await lab.AskAsync("www.example.net", edns: edns);
        Assert.Equal([false, true], upstream.Seen.Select(s => s.Tcp));
        Assert.Equal(edns < 0, reply.Header.IsTruncated);
        Assert.Equal(edns < 0 ? 29 : 60, reply.Answers.Count); // (512 - 33) / 16
        Assert.Equal(60, (await lab.AskTcpAsync("www.example.net")).Answers.Count);
    }

    [Fact]
    public async Task Long_answers_by_udp_are_taken_whole()
    {
        string[] many = [.. Enumerable.Range(1, 250).Select(i => $"192.0.2.{i}")];
        await using var upstream = new FakeUpstream((query, _) => [DnsMessages.Reply(query, 0, 60, many)]);
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider());
        Assert.Equal(250, (await lab.AskAsync("www.example.net", edns: 65000)).Answers.Count);
    }

    [Fact]
    public async Task Equal_questions_in_flight_are_asked_once_and_answered_each_in_its_own_words()
    {
        byte[]? held = null;
        await using var upstream = new FakeUpstream((query, _) => { held = DnsMessages.Reply(query, 0, 0, "192.0.2.1"); return []; });
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider());
        Task<DnsText> first = lab.AskAsync("www.example.net", id: 1);
        await upstream.AskedAsync();
        Task<DnsText> second = lab.AskAsync("WWW.example.NET", id: 2);
        await Test.UntilAsync(() => lab.MetricsPage().Contains("istio_agent_dns_coalesced_total 1\n", StringComparison.Ordinal));
        await upstream.SendAsync(held!, upstream.Seen.First().Port);
        Assert.Equal("www.example.net. A", (await first).Question);
        DnsText other = await second;
        Assert.Equal(("WWW.example.NET. A", (ushort)2), (other.Question, other.Header.Id));
        Assert.Equal(1, upstream.Count);
    }

    [Fact]
    public async Task Questions_with_options_of_their_own_travel_alone_and_unchanged()
    {
        await using FakeUpstream upstream = FakeUpstream.Answering("192.0.2.1");
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider());
        byte[] subnet = [.. DnsMessages.Query("www.example.net", ednsSize: 1232)[..^2], 0, 8, 0, 8, 0, 4, 0, 1, 0, 0];
        byte[] cookie = [.. DnsMessages.Query("www.example.net", ednsSize: 1232)[..^2], 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
        await lab.AskRawAsync(subnet);
        await lab.AskRawAsync(subnet);
        await lab.AskRawAsync(cookie);
        await lab.AskRawAsync(cookie);
        byte[][] seen = [.. upstream.Seen.Select(s => s.Query)];
        Assert.Equal(3, seen.Length); // the two with a cookie are one: a cookie is between neighbours
        Assert.Equal(subnet[2..], seen[0][2..]);
        Assert.Equal(DnsMessages.Query("www.example.net", ednsSize: 1232)[2..], seen[2][2..]);
    }

    [Fact]
    public async Task A_query_of_our_own_that_comes_back_is_a_loop_and_said_so()
    {
        FakeUpstream? upstream = null;
        await using DnsLab lab = await DnsLab.StartAsync();
        await using (upstream = FakeUpstream.Silent())
        {
            lab.Server.Upstreams.UseServers([upstream.Endpoint, lab.Address]); // the second is ourselves, as capture without exemption makes it
            DnsText reply = await lab.AskAsync("www.example.net");
            Assert.Equal("SERVFAIL", reply.Rcode);
        }
        Assert.Single(lab.Log.Lines, l => l.StartsWith("Error: DNS loop", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Our_own_address_in_resolv_conf_is_left_out()
    {
        await using DnsLab lab = await DnsLab.StartAsync();
        var follower = new ResolvConfFollower(lab.ResolvConfPath, new DnsState(new NameScope("a", "b", false)), lab.Server.Upstreams, TimeProvider.System, lab.Log) { Own = [new(IPAddress.Parse("127.0.0.1"), 53)] };
        await File.WriteAllTextAsync(lab.ResolvConfPath, "nameserver 127.0.0.1\nnameserver 192.0.2.53");
        follower.Read();
        Assert.Equal(["192.0.2.53:53"], lab.Server.Upstreams.Servers.Select(s => s.Endpoint.ToString()));
        Assert.Contains(lab.Log.Lines, l => l.StartsWith("Warning: ignoring the DNS server 127.0.0.1:53", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_lost_packet_is_sent_again_soon_and_ever_slower()
    {
        await using FakeUpstream one = FakeUpstream.Silent(), two = FakeUpstream.Silent();
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync([one, two], time);
        DateTimeOffset begin = time.GetUtcNow();
        Task<DnsText> asked = lab.AskAsync("www.example.net");
        List<double> gaps = [];
        while (!asked.IsCompleted)
        {
            Task<TimeSpan> armed = time.NextTimerAsync(Test.Deadline);
            if (await Task.WhenAny(armed, asked) != armed || await armed > TimeSpan.FromSeconds(1)) { continue; }
            gaps.Add((await armed).TotalMilliseconds);
            time.Advance(await armed);
        }
        Assert.Equal([200, 400, 400, 800, 800, 1000, 900], gaps); // seven asks in 4.5 seconds
        Assert.Equal("SERVFAIL", (await asked).Rcode);
    }

    [Theory]
    [InlineData(0.001)]
    [InlineData(50 * 86_400.0)]     // more than a timer takes
    [InlineData(2000 * 365 * 86_400.0)]
    public async Task Any_forward_timeout_lets_a_server_leave_and_the_agent_stop(double seconds)
    {
        await using FakeUpstream old = FakeUpstream.Silent(), young = FakeUpstream.Silent();
        await using DnsLab lab = await DnsLab.StartAsync([old], new ManualTimeProvider(), o => o with { ForwardTimeout = TimeSpan.FromSeconds(seconds) });
        lab.Server.Upstreams.UseServers([young.Endpoint]);
        await lab.StopAsync(now: true).WaitAsync(Test.Deadline);
        Assert.True(lab.Server.Completion.IsCompletedSuccessfully);
    }

    [Fact]
    public async Task Stopping_ends_what_waits_upstream()
    {
        await using FakeUpstream upstream = FakeUpstream.Silent();
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider());
        Task<DnsText> asked = lab.AskAsync("www.example.net");
        await upstream.AskedAsync();
        using var hard = new CancellationTokenSource();
        await hard.CancelAsync();
        await lab.Server.StopAsync(hard.Token).WaitAsync(Test.Deadline);
        Assert.Equal("SERVFAIL", (await asked).Rcode);
        Assert.True(lab.Server.Completion.IsCompletedSuccessfully);
        lab.MarkStopped();
    }

    /// <summary>Moves the clock to each of the exchange's timers until the task has ended; the follower's are left alone.</summary>
    internal static async Task RunClockAsync(ManualTimeProvider time, Task task)
    {
        while (!task.IsCompleted)
        {
            Task<TimeSpan> armed = time.NextTimerAsync(Test.Deadline);
            if (await Task.WhenAny(armed, task) == armed && await armed is { } due && due <= TimeSpan.FromSeconds(1)) { time.Advance(due); }
        }
    }

    /// <summary>Waits until a timer of this length is armed; others (the follower's) are passed over.</summary>
    internal static async Task ArmedAsync(ManualTimeProvider time, TimeSpan due)
    {
        while (await time.NextTimerAsync(Test.Deadline) != due) { }
    }

    internal static async Task<IPEndPoint> ClosedPortAsync()
    {
        await using FakeUpstream gone = FakeUpstream.Silent();
        return gone.Endpoint;
    }
}
