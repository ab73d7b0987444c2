using System.Net;
using VmSidecar.Dns;
using VmSidecar.TestKit;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>Servers that come, leave, or stand behind another one.</summary>
public sealed class ServerListTests
{
    [Fact]
    public async Task The_servers_behind_a_stub_are_asked_only_when_it_is_gone_or_silent()
    {
        byte[]? held = null;
        await using FakeUpstream stub = Stub(query => { held = DnsMessages.Reply(query, 0, 0, "192.0.2.10"); return []; });
        await using FakeUpstream behind = FakeUpstream.Failing(DnsRcode.NxDomain); // knows nothing of the VPN's names
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync(time: time);
        lab.Server.Upstreams.UseServers([stub.Endpoint], [behind.Endpoint]);
        Task<DnsText> asked = lab.AskAsync("host.vpn.example");
        await stub.AskedAsync();
        await ForwarderTests.ArmedAsync(time, TimeSpan.FromMilliseconds(400)); // a slow stub: asked again, by itself
        time.Advance(TimeSpan.FromMilliseconds(400));
        await stub.AskedAsync();
        await stub.SendAsync(held!, stub.Seen.Last().Port);
        Assert.Equal(["host.vpn.example. 0 A 192.0.2.10"], (await asked).Answers);
        Assert.Equal(0, behind.Count);

        Task<DnsText> second = lab.AskAsync("other.vpn.example");
        await SilenceAsync(stub, time, questions: 1);
        Assert.Equal(("NXDOMAIN", 1), ((await second).Rcode, behind.Count));
        lab.Server.Upstreams.UseServers([await ForwarderTests.ClosedPortAsync()], [behind.Endpoint]);
        Assert.Equal("NXDOMAIN", (await lab.AskAsync("third.vpn.example")).Rcode); // at once
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)] // both families of two names, from a browser
    public async Task A_name_the_stub_is_silent_about_takes_no_other_name_from_it(int silent)
    {
        await using FakeUpstream stub = Stub(query => NameOf(query).StartsWith("lame", StringComparison.Ordinal) ? [] : [DnsMessages.Reply(query, 0, 0, "192.0.2.10")]);
        await using FakeUpstream behind = FakeUpstream.Failing(DnsRcode.NxDomain);
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync(time: time);
        lab.Server.Upstreams.UseServers([stub.Endpoint], [behind.Endpoint]);
        Task<DnsText[]> asked = Task.WhenAll(Enumerable.Range(0, silent).Select(i => lab.AskAsync($"lame{i}.vpn.example")));
        await SilenceAsync(stub, time, silent);
        Assert.All(await asked, reply => Assert.Equal("NXDOMAIN", reply.Rcode));
        Assert.Equal(silent, behind.Count);
        await Test.UntilAsync(() => stub.Seen.Any(s => NameOf(s.Query) == "localhost.")); // asked for a proof of life
        for (int i = 0; i < 10; i++)
        {
            time.Advance(TimeSpan.FromMilliseconds(100));
            Assert.Equal([$"host{i}.vpn.example. 0 A 192.0.2.10"], (await lab.AskAsync($"host{i}.vpn.example")).Answers);
        }
        Assert.Equal(silent, behind.Count);
    }

    [Fact]
    public async Task A_stub_that_answers_nothing_at_all_is_found_dead_after_one_question_and_alive_without_one()
    {
        bool alive = false;
        await using var stub = new FakeUpstream((query, _) => Volatile.Read(ref alive) ? [DnsMessages.Reply(query, 0, 0, "192.0.2.10")] : []);
        await using FakeUpstream behind = FakeUpstream.Answering("192.0.2.20", ttl: 0);
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync(time: time);
        lab.Server.Upstreams.UseServers([stub.Endpoint], [behind.Endpoint]);
        Task<DnsText> first = lab.AskAsync("www.vpn.example");
        await SilenceAsync(stub, time, questions: 1);
        Assert.Equal(["www.vpn.example. 0 A 192.0.2.20"], (await first).Answers);
        for (int i = 0; i < 2; i++) // asked for a proof of life, twice
        {
            await ForwarderTests.ArmedAsync(time, StubProof.Patience);
            time.Advance(StubProof.Patience);
        }
        await Test.UntilAsync(() => lab.Server.Upstreams.Servers[0].Health.IsDown);
        Assert.Equal(["www.vpn.example. 0 A 192.0.2.20"], (await lab.AskAsync("www.vpn.example")).Answers); // the clock stands: at once
        await ForwarderTests.ArmedAsync(time, StubProof.Patience);
        Volatile.Write(ref alive, true);
        time.Advance(StubProof.Patience);
        await Test.UntilAsync(() => !lab.Server.Upstreams.Servers[0].Health.IsDown);
        Assert.Equal(["www.vpn.example. 0 A 192.0.2.10"], (await lab.AskAsync("www.vpn.example")).Answers);
        Assert.Equal(2, behind.Count);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task What_the_servers_behind_a_stub_say_is_kept_no_longer_than_its_own_word(bool exists)
    {
        await using FakeUpstream behind = exists ? FakeUpstream.Answering("192.0.2.20", ttl: 3000) : FakeUpstream.Failing(DnsRcode.NxDomain);
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync(time: time);
        lab.Server.Upstreams.UseServers([await ForwarderTests.ClosedPortAsync()], [new(IPAddress.Any, behind.Endpoint.Port)]); // reaches this host, and is no loopback address
        foreach (int asks in (int[])[1, 1, 2])
        {
            Assert.Equal(exists ? "NOERROR" : "NXDOMAIN", (await lab.AskAsync("www.vpn.example")).Rcode);
            Assert.Equal(asks, behind.Count);
            time.Advance(TimeSpan.FromSeconds(exists ? 30 : 2.5));
        }
    }

    [Theory]
    [InlineData(2, false)]
    [InlineData(3, true)]
    public async Task However_often_one_question_was_asked_its_silence_is_one_miss(int questions, bool down)
    {
        await using FakeUpstream one = FakeUpstream.Silent(), two = FakeUpstream.Silent();
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync([one, two], time);
        Task<DnsText[]> asked = Task.WhenAll(Enumerable.Range(0, questions).Select(i => lab.AskAsync($"n{i}.example.net")));
        await ForwarderTests.RunClockAsync(time, asked);
        Assert.All(await asked, reply => Assert.Equal("SERVFAIL", reply.Rcode));
        Assert.Equal([down, down], lab.Server.Upstreams.Servers.Select(s => s.Health.IsDown));
    }

    [Fact]
    public void Whatever_was_on_its_way_when_a_server_went_down_is_one_outage()
    {
        var time = new ManualTimeProvider();
        var health = new UpstreamHealth(time);
        for (int i = 0; i < 100; i++) { health.Unreachable(time.GetTimestamp()); } // a burst meets the closed port of a server that restarts
        Assert.True(health.IsDown);
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.True(health.TakeTrial()); // not in half a minute
        health.Unreachable(time.GetTimestamp());
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.False(health.TakeTrial()); // still gone: ever rarer
        time.Advance(TimeSpan.FromSeconds(28));
        Assert.True(health.TakeTrial());
        health.Answered(TimeSpan.Zero);
        Assert.False(health.IsDown);
    }

    [Fact]
    public async Task A_server_that_leaves_resolv_conf_may_still_answer_what_it_was_asked()
    {
        byte[]? held = null;
        await using var old = new FakeUpstream((query, _) => { held = DnsMessages.Reply(query, 0, 60, "192.0.2.9"); return []; });
        await using FakeUpstream young = FakeUpstream.Answering("192.0.2.1");
        await using DnsLab lab = await DnsLab.StartAsync([old], new ManualTimeProvider());
        Task<DnsText> asked = lab.AskAsync("www.example.net");
        await old.AskedAsync();
        lab.Server.Upstreams.UseServers([young.Endpoint]);
        Assert.Equal(["other.example.net. 60 A 192.0.2.1"], (await lab.AskAsync("other.example.net")).Answers);
        await old.SendAsync(held!, old.Seen.First().Port);
        Assert.Equal(["www.example.net. 60 A 192.0.2.9"], (await asked).Answers);
        Assert.Equal(["www.example.net. 60 A 192.0.2.1"], (await lab.AskAsync("www.example.net")).Answers); // but it is not remembered
    }

    [Fact]
    public async Task What_a_server_that_stays_was_asked_before_a_change_is_not_remembered()
    {
        byte[]? held = null;
        await using var stub = new FakeUpstream((query, _) =>
        {
            if (held is not null) { return [DnsMessages.Reply(query, 0, 60, "192.0.2.1")]; }
            held = DnsMessages.Reply(query, 0, 60, "192.0.2.9");
            return [];
        });
        await using FakeUpstream one = FakeUpstream.Silent(), two = FakeUpstream.Silent();
        await using DnsLab lab = await DnsLab.StartAsync(time: new ManualTimeProvider());
        lab.Server.Upstreams.UseServers([stub.Endpoint], [one.Endpoint]);
        Task<DnsText> asked = lab.AskAsync("www.example.net");
        await stub.AskedAsync();
        lab.Server.Upstreams.UseServers([stub.Endpoint], [two.Endpoint]); // a VPN came up behind the stub
        await stub.SendAsync(held!, stub.Seen.First().Port);
        Assert.Equal(["www.example.net. 60 A 192.0.2.9"], (await asked).Answers);
        Assert.Equal(["www.example.net. 60 A 192.0.2.1"], (await lab.AskAsync("www.example.net")).Answers);
    }

    [Fact]
    public void A_store_that_a_clear_overtakes_leaves_nothing()
    {
        var cache = new ReplyCache(new ManualTimeProvider());
        byte[] query = DnsMessages.Query("www.example.net");
        DnsQuery.Read(query, out DnsQuery parsed);
        byte[] key = QuestionKey.For(query, parsed, tcp: false)!, reply = DnsMessages.Reply(query, 0, 60, "192.0.2.1");
        int before = cache.Generation;
        cache.Store(key, reply, fromLocal: false, before);
        Assert.Equal(1, cache.Count);
        cache.Clear();
        cache.Store(key, reply, fromLocal: false, before);
        Assert.Equal((0, 0L), (cache.Count, cache.Bytes));
        cache.Store(key, reply, fromLocal: false, cache.Generation);
        Assert.Equal(1, cache.Count);
    }

    [Fact]
    public async Task A_resolv_conf_that_is_empty_for_a_moment_changes_nothing()
    {
        await using DnsLab lab = await DnsLab.StartAsync();
        string conf = Path.Combine(lab.Options.StateDirectory, "conf");
        Directory.CreateDirectory(lab.Options.StateDirectory);
        Forwarder forwarder = lab.Server.Upstreams;
        int changes = 0;
        var follower = new ResolvConfFollower(conf, new DnsState(new NameScope("a", "b", false)), forwarder, TimeProvider.System, lab.Log) { Changed = () => changes++ };
        ReadWith("nameserver 192.0.2.1\nsearch corp.example\n");
        byte[] query = DnsMessages.Query("www.example.net");
        DnsQuery.Read(query, out DnsQuery parsed);
        forwarder.Cache.Store(QuestionKey.For(query, parsed, tcp: false)!, DnsMessages.Reply(query, 0, 60, "192.0.2.1"), fromLocal: false, forwarder.Cache.Generation);
        foreach (string text in (string[])["", "nameserver 192.0.2.1\nsearch corp.example\n", "search corp.example\n", "nameserver 192.0.2.1\nsearch corp.example\n", "# soon\n"]) // a writer that truncates first
        {
            ReadWith(text);
            Assert.Equal("192.0.2.1:53", Assert.Single(forwarder.Servers).Endpoint.ToString());
            Assert.Equal((1, 1), (forwarder.Cache.Count, changes));
        }
        ReadWith(""); // the second in a row: so it is meant
        Assert.Equal((0, 0, 2), (forwarder.Servers.Length, forwarder.Cache.Count, changes));
        ReadWith("nameserver 192.0.2.2\n");
        Assert.Equal(["192.0.2.2:53"], forwarder.Servers.Select(s => s.Endpoint.ToString()));

        void ReadWith(string text)
        {
            File.WriteAllText(conf, text);
            follower.Read();
        }
    }

    [Fact]
    public async Task Another_link_behind_an_unchanged_stub_is_noticed()
    {
        await using DnsLab lab = await DnsLab.StartAsync();
        string etc = Directory.CreateDirectory(Path.Combine(lab.Options.StateDirectory, "etc")).FullName, conf = Path.Combine(etc, "resolv.conf");
        string behind = Path.Combine(Directory.CreateDirectory(Path.Combine(etc, "../run/systemd/resolve")).FullName, "resolv.conf");
        int changes = 0;
        var follower = new ResolvConfFollower(conf, new DnsState(new NameScope("a", "b", false)), lab.Server.Upstreams, TimeProvider.System, lab.Log) { Changed = () => changes++ };
        await File.WriteAllTextAsync(conf, "nameserver 127.0.0.53\n");
        await File.WriteAllTextAsync(behind, "nameserver 192.0.2.1\n");
        follower.Read();
        Assert.Equal(["127.0.0.53:53", "192.0.2.1:53"], Servers());
        await File.WriteAllTextAsync(behind, "nameserver 192.0.2.2\n"); // a VPN came up: resolv.conf itself stays as it is
        follower.Read();
        Assert.Equal(["127.0.0.53:53", "192.0.2.2:53"], Servers());
        follower.Read();
        Assert.Equal(2, changes); // the same again is no change
        File.Delete(behind);
        follower.Read();
        Assert.Equal(["127.0.0.53:53"], Servers());

        string[] Servers() => [.. lab.Server.Upstreams.Servers.Select(s => s.Endpoint.ToString())];
    }

    /// <summary>Answers <c>localhost</c> by itself, as systemd-resolved does, and the rest by the script.</summary>
    private static FakeUpstream Stub(Func<byte[], IEnumerable<byte[]>> script) =>
        new((query, _) => NameOf(query) == "localhost." ? [DnsMessages.Reply(query, 0, 0, "127.0.0.1")] : script(query));

    private static string NameOf(byte[] query)
    {
        Assert.Equal(QueryVerdict.Accepted, DnsQuery.Read(query, out DnsQuery parsed));
        return WireName.ToText(parsed.Name(query));
    }

    /// <summary>Lets a stub be silent about so many questions for more than two seconds, after which others are asked.</summary>
    private static async Task SilenceAsync(FakeUpstream stub, ManualTimeProvider time, int questions)
    {
        foreach (int gap in (int[])[400, 800, 1000])
        {
            for (int i = 0; i < questions; i++)
            {
                await stub.AskedAsync();
                await ForwarderTests.ArmedAsync(time, TimeSpan.FromMilliseconds(gap));
            }
            time.Advance(TimeSpan.FromMilliseconds(gap));
        }
    }
}
