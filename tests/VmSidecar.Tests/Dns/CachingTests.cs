using VmSidecar.Dns;
using VmSidecar.TestKit;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

public sealed class CachingTests
{
    [Fact]
    public async Task Answers_are_remembered_with_their_ttl_counted_down()
    {
        await using FakeUpstream upstream = FakeUpstream.Answering("192.0.2.1", ttl: 40);
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync([upstream], time);
        Assert.Equal(["www.example.net. 40 A 192.0.2.1"], (await lab.AskAsync("www.example.net")).Answers);
        time.Advance(TimeSpan.FromSeconds(15));
        DnsText cached = await lab.AskAsync("WWW.example.net", id: 99);
        Assert.Equal(["WWW.example.net. 25 A 192.0.2.1"], cached.Answers); // the owner points at the question
        Assert.Equal((ushort)99, cached.Header.Id);
        Assert.Equal(1, upstream.Count);
        time.Advance(TimeSpan.FromSeconds(25));
        Assert.Equal(["www.example.net. 40 A 192.0.2.1"], (await lab.AskAsync("www.example.net")).Answers);
        Assert.Equal(2, upstream.Count);
        Assert.Contains("istio_agent_dns_answers_total{source=\"cache\",rcode=\"NOERROR\"} 1\n", lab.MetricsPage(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Nxdomain_and_nodata_are_remembered_briefly()
    {
        await using FakeUpstream upstream = FakeUpstream.Failing(DnsRcode.NxDomain);
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync([upstream], time);
        Assert.Equal("NXDOMAIN", (await lab.AskAsync("nope.example.net")).Rcode);
        time.Advance(TimeSpan.FromSeconds(4));
        Assert.Equal("NXDOMAIN", (await lab.AskAsync("nope.example.net")).Rcode);
        Assert.Equal(1, upstream.Count);
        time.Advance(TimeSpan.FromSeconds(1)); // a local resolver's no counts for five seconds: it may have joined a network meanwhile
        Assert.Equal("NXDOMAIN", (await lab.AskAsync("nope.example.net")).Rcode);
        Assert.Equal(2, upstream.Count);
    }

    [Fact]
    public async Task Different_flags_are_different_questions()
    {
        await using FakeUpstream upstream = FakeUpstream.Answering("192.0.2.1");
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider());
        byte[] noRecursion = DnsMessages.Query("www.example.net");
        noRecursion[2] = 0;
        await lab.AskRawAsync(noRecursion);
        await lab.AskRawAsync(DnsMessages.Query("www.example.net"));
        await lab.AskRawAsync(DnsMessages.Query("www.example.net", ednsSize: 1232));
        await lab.AskRawAsync(DnsMessages.Query("www.example.net", ednsSize: 1232, dnssecOk: true));
        await lab.AskRawAsync(DnsMessages.Query("www.example.net", DnsType.AAAA));
        Assert.Equal(5, upstream.Count);
        await lab.AskRawAsync(DnsMessages.Query("www.example.net", ednsSize: 4096)); // the size alone makes no difference
        Assert.Equal(5, upstream.Count);
    }

    [Fact]
    public async Task Failures_serve_the_expired_answer()
    {
        bool fail = false;
        await using var upstream = new FakeUpstream((query, _) => [fail ? DnsMessages.Reply(query, DnsRcode.ServFail) : DnsMessages.Reply(query, 0, 10, "192.0.2.1")]);
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync([upstream], time);
        await lab.AskAsync("www.example.net");
        fail = true;
        time.Advance(TimeSpan.FromSeconds(11));
        Assert.Equal(["www.example.net. 30 A 192.0.2.1"], (await lab.AskAsync("www.example.net")).Answers);
        Assert.Contains("istio_agent_dns_answers_total{source=\"stale\",rcode=\"NOERROR\"} 1\n", lab.MetricsPage(), StringComparison.Ordinal);
        time.Advance(TimeSpan.FromDays(1));
        Assert.Equal("SERVFAIL", (await lab.AskAsync("www.example.net")).Rcode);
    }

    [Fact]
    public async Task Silence_serves_the_expired_answer_before_the_client_gives_up()
    {
        bool silent = false;
        await using var upstream = new FakeUpstream((query, _) => silent ? [] : [DnsMessages.Reply(query, 0, 10, "192.0.2.1")]);
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync([upstream], time);
        await lab.AskAsync("www.example.net");
        await ForwarderTests.ArmedAsync(time, TimeSpan.FromMilliseconds(400)); // of the answer just had
        silent = true;
        time.Advance(TimeSpan.FromSeconds(11));
        Task<DnsText> asked = lab.AskAsync("www.example.net");
        await ForwarderTests.ArmedAsync(time, TimeSpan.FromMilliseconds(400)); // then the only server is asked once more
        time.Advance(TimeSpan.FromMilliseconds(400));
        await ForwarderTests.ArmedAsync(time, TimeSpan.FromMilliseconds(1400)); // 1.8 s in all
        time.Advance(TimeSpan.FromMilliseconds(1400));
        Assert.Equal(["www.example.net. 30 A 192.0.2.1"], (await asked).Answers);
    }

    [Fact]
    public async Task Hot_names_are_asked_ahead_of_their_end()
    {
        await using FakeUpstream upstream = FakeUpstream.Answering("192.0.2.1", ttl: 60);
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync([upstream], time);
        for (int i = 0; i < 4; i++) { await lab.AskAsync("www.example.net"); }
        await upstream.AskedAsync();
        time.Advance(TimeSpan.FromSeconds(55));
        Assert.Equal(["www.example.net. 5 A 192.0.2.1"], (await lab.AskAsync("www.example.net")).Answers); // at once, from the cache
        await upstream.AskedAsync();                                                                      // and asked ahead
        await Test.UntilAsync(() => lab.Server.Upstreams.Cache.Count == 1 && upstream.Count == 2);
    }

    [Fact]
    public async Task A_report_on_a_hot_name_does_not_keep_it_from_being_asked_ahead()
    {
        await using FakeUpstream upstream = FakeUpstream.Answering("192.0.2.1", ttl: 60);
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync([upstream], time);
        for (int i = 0; i < 4; i++) { await lab.AskAsync("www.example.net"); }
        time.Advance(TimeSpan.FromSeconds(55));
        Assert.Equal("fresh", (string?)(await lab.Server.Report.ForAsync("www.example.net", "A", CancellationToken.None))?["cache"]); // asks upstream itself, past the cache
        Assert.Equal(2, upstream.Count);
        Assert.Equal(["www.example.net. 5 A 192.0.2.1"], (await lab.AskAsync("www.example.net")).Answers);
        await Test.UntilAsync(() => upstream.Count == 3); // asked ahead
    }

    [Fact]
    public async Task Another_network_starts_with_an_empty_cache()
    {
        await using FakeUpstream one = FakeUpstream.Answering("192.0.2.1"), two = FakeUpstream.Answering("192.0.2.2");
        await using DnsLab lab = await DnsLab.StartAsync([one], new ManualTimeProvider());
        await lab.AskAsync("www.example.net");
        lab.Server.Upstreams.UseServers([two.Endpoint]);
        Assert.Equal(["www.example.net. 60 A 192.0.2.2"], (await lab.AskAsync("www.example.net")).Answers);
    }

    [Fact]
    public void The_cache_stays_within_its_bounds()
    {
        var cache = new ReplyCache(new ManualTimeProvider(), maxEntries: 100, maxBytes: 20_000);
        for (int i = 0; i < 5_000; i++)
        {
            byte[] query = DnsMessages.Query($"n{i}.example.net");
            DnsQuery.Read(query, out DnsQuery parsed);
            cache.Store(QuestionKey.For(query, parsed, tcp: false)!, DnsMessages.Reply(query, 0, 60, "192.0.2.1"), fromLocal: false, cache.Generation);
            Assert.InRange(cache.Count, 0, 101);
            Assert.InRange(cache.Bytes, 0, 21_000);
        }
        Assert.True(cache.Count > 40, "a full cache is not an empty one");
    }

    [Theory]
    [InlineData(60u, false, 60u)]
    [InlineData(100_000u, false, 3600u)]
    [InlineData(100_000u, true, 60u)]
    [InlineData(0u, false, 0u)]
    [InlineData(0x8000_0001u, false, 0u)] // RFC 2181 §8
    public void Lifetimes_follow_the_ttl_within_limits(uint ttl, bool local, uint expected) =>
        Assert.Equal(expected, CachePolicy.Lifetime(DnsMessages.Reply(DnsMessages.Query("www.example.net"), 0, ttl, "192.0.2.1"), local));

    [Fact]
    public void What_failed_or_was_cut_or_has_no_soa_is_not_remembered()
    {
        byte[] query = DnsMessages.Query("www.example.net");
        Assert.Equal(0u, CachePolicy.Lifetime(DnsMessages.Reply(query, DnsRcode.ServFail), false));
        Assert.Equal(0u, CachePolicy.Lifetime(DnsMessages.Reply(query, DnsRcode.Refused), false));
        byte[] cut = DnsMessages.Reply(query, 0, 60, "192.0.2.1");
        cut[2] |= 2;
        Assert.Equal(0u, CachePolicy.Lifetime(cut, false));
        byte[] bare = [.. query];
        bare[2] |= 0x80;
        Assert.Equal(0u, CachePolicy.Lifetime(bare, false));
        Assert.Equal(60u, CachePolicy.Lifetime(DnsMessages.Reply(query, DnsRcode.NxDomain), false));
        Assert.Equal(5u, CachePolicy.Lifetime(DnsMessages.Reply(query, DnsRcode.NxDomain), true));
    }
}
