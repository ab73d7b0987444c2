using System.Net;
using VmSidecar.Configuration;
using VmSidecar.Dns;
using VmSidecar.TestKit;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

public sealed class VirtualIpTests
{
    private static readonly DateTimeOffset Now = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData("outbound|80||www.shop.example", 3, "www.shop.example")]
    [InlineData("outbound|443|v1|WWW.Shop.example.", 1, "www.shop.example")]
    [InlineData("outbound|80||www.shop.example", 2, "www.shop.example")]
    [InlineData("outbound|80||www.shop.example", 4, null)]     // ORIGINAL_DST: the virtual IP would become the upstream address
    [InlineData("outbound|80||www.shop.example", 0, null)]     // STATIC
    [InlineData("outbound|80||*.shop.example", 3, null)]
    [InlineData("outbound|80||192.0.2.1", 3, null)]
    [InlineData("outbound|80||2001:db8::1", 3, null)]
    [InlineData("outbound|80||single", 3, null)]
    [InlineData("inbound|80||www.shop.example", 3, null)]
    [InlineData("outbound_.80_._.www.shop.example", 3, null)]  // the DNS SRV form
    [InlineData("BlackHoleCluster", 3, null)]
    [InlineData("InboundPassthroughClusterIpv4", 3, null)]
    public void Only_hosts_that_can_work_are_candidates(string cluster, int type, string? host) => Assert.Equal(host, ServiceCluster.Read(cluster, type) is { Suits: true } found ? found.Host : null);

    [Fact]
    public void Addresses_do_not_depend_on_the_order_of_arrival()
    {
        string[] hosts = [.. Enumerable.Range(0, 3000).Select(i => $"h{i}.example.net")];
        VipAssignments forward = VipAllocator.Assign(VipAssignments.Empty, hosts, Now), backward = VipAllocator.Assign(VipAssignments.Empty, [.. hosts.Reverse()], Now);
        Assert.Equal(forward.Hosts, backward.Hosts);
        Assert.Distinct(forward.Hosts.Values);
    }

    [Fact]
    public void Nobody_is_ever_renumbered_and_freed_addresses_rest()
    {
        var random = new Random(20261);
        VipAssignments vips = VipAssignments.Empty;
        DateTimeOffset now = Now;
        Dictionary<int, (string Host, DateTimeOffset Until)> resting = [];
        for (int step = 0; step < 300; step++)
        {
            now += TimeSpan.FromHours(random.Next(0, 5));
            string[] hosts = [.. Enumerable.Range(0, 400).Where(_ => random.Next(2) == 0).Select(i => $"h{i}.example.net")];
            VipAssignments next = VipAllocator.Assign(vips, hosts, now);
            Assert.Equal(hosts.Order(StringComparer.Ordinal), next.Hosts.Keys);
            Assert.Distinct(next.Hosts.Values.Concat(next.Resting.Values.Select(r => r.Slot)));
            foreach ((string host, int slot) in next.Hosts)
            {
                if (vips.Hosts.TryGetValue(host, out int old)) { Assert.Equal(old, slot); }
                if (resting.TryGetValue(slot, out var rest) && rest.Host != host) { Assert.True(now >= rest.Until, $"{slot} of {rest.Host} went to {host} too early"); }
            }
            foreach ((string host, int slot) in vips.Hosts.Where(h => !next.Hosts.ContainsKey(h.Key))) { resting[slot] = (host, now + VipAllocator.Rest); }
            Assert.Equal(next.Hosts, VipFile.Read(VipFile.Write(next))!.Hosts);
            vips = next;
        }
    }

    [Fact]
    public void A_full_range_leaves_hosts_without_an_address_but_moves_nobody()
    {
        string[] hosts = [.. Enumerable.Range(0, VipAllocator.Slots + 5).Select(i => $"h{i}")];
        VipAssignments full = VipAllocator.Assign(VipAssignments.Empty, hosts, Now);
        Assert.Equal(VipAllocator.Slots, full.Hosts.Count);
        Assert.Equal(VipAllocator.Slots, full.Hosts.Values.Distinct().Count());
    }

    [Fact]
    public void Addresses_lie_in_our_own_range_and_hashes_are_the_same_everywhere()
    {
        Assert.Equal("240.241.0.1", new IPAddress(VipAllocator.ToV4(0)).ToString());
        Assert.Equal("240.241.255.254", new IPAddress(VipAllocator.ToV4(VipAllocator.Slots - 1)).ToString());
        Assert.Equal("2001:2:0:f1f1::1", new IPAddress(VipAllocator.ToV6(0)).ToString());
        Assert.Equal("2001:2:0:f1f1::fe00", new IPAddress(VipAllocator.ToV6(VipAllocator.Slots - 1)).ToString());
        Assert.Equal(Convert.ToUInt32("48d49f94", 16) % VipAllocator.Slots, (uint)VipAllocator.HashSlot("www.shop.example"));
    }

    [Theory]
    [InlineData("")]
    [InlineData("something else\n")]
    [InlineData("vmsidecar-vips 1\na.example 5")]               // cut
    [InlineData("vmsidecar-vips 1\na.example 5\nb.example 5\n")] // one address twice
    [InlineData("vmsidecar-vips 1\na.example 65024\n")]
    [InlineData("vmsidecar-vips 1\na.example -1\n")]
    [InlineData("vmsidecar-vips 1\na.example 1 99999999999999999\n")]
    public void A_damaged_file_is_refused_whole(string text) => Assert.Null(VipFile.Read(text));

    [Fact]
    public async Task A_host_gets_an_address_only_where_upstream_does_not_know_it()
    {
        await using var upstream = new FakeUpstream((query, _) => [NameOf(query) == "public.example.net." ? DnsMessages.Reply(query, 0, 60, "192.0.2.1") : DnsMessages.Reply(query, DnsRcode.NxDomain)]);
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider());
        await lab.ShowHostsAsync("public.example.net", "private.example.net");
        Assert.Equal(["public.example.net. 60 A 192.0.2.1"], (await lab.AskAsync("public.example.net")).Answers);
        string vip = new IPAddress(VipAllocator.ToV4(VipAllocator.HashSlot("private.example.net"))).ToString();
        for (int i = 0; i < 2; i++) // the second time from the cache
        {
            Assert.Equal([$"private.example.net. 30 A {vip}"], (await lab.AskAsync("private.example.net")).Answers);
            DnsText other = await lab.AskAsync("private.example.net", DnsType.AAAA);
            Assert.Equal(("NOERROR", 0), (other.Rcode, other.Answers.Count)); // not NXDOMAIN, not a real address past the virtual one
        }
        Assert.Equal("NXDOMAIN", (await lab.AskAsync("other.example.net")).Rcode);
    }

    [Fact]
    public async Task In_mode_all_upstream_is_not_asked_and_in_mode_off_nothing_changes()
    {
        await using FakeUpstream upstream = FakeUpstream.Failing(DnsRcode.NxDomain);
        await using DnsLab all = await DnsLab.StartAsync([upstream], new ManualTimeProvider(), change: o => o with { VirtualIps = VirtualIpMode.All });
        await all.ShowHostsAsync("private.example.net");
        Assert.Single((await all.AskAsync("private.example.net")).Answers);
        Assert.Equal(0, upstream.Count);
        await using DnsLab off = await DnsLab.StartAsync([upstream], new ManualTimeProvider(), change: o => o with { VirtualIps = VirtualIpMode.Off });
        Assert.Null(off.Server.Names.Accept([]));
        off.Server.VirtualIps.Accept(["private.example.net"]);
        Assert.Equal("NXDOMAIN", (await off.AskAsync("private.example.net")).Rcode);
    }

    [Fact]
    public async Task Istiods_address_wins_at_once_and_ours_comes_back_unchanged()
    {
        await using FakeUpstream upstream = FakeUpstream.Failing(DnsRcode.NxDomain);
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider());
        await lab.ShowHostsAsync("private.example.net");
        string ours = (await lab.AskAsync("private.example.net")).Answers.Single();
        Assert.Null(lab.Server.Names.Accept(DnsMessages.Nds(("Private.example.net", ["240.240.0.9"], "External", "", ""))));
        Assert.Equal(["private.example.net. 30 A 240.240.0.9"], (await lab.AskAsync("private.example.net")).Answers);
        await Test.UntilAsync(() => lab.Server.VirtualIps.Current.Hosts.Count == 0);
        await lab.ShowHostsAsync("private.example.net");
        Assert.Equal(ours, (await lab.AskAsync("private.example.net")).Answers.Single());
    }

    [Fact]
    public async Task Hosts_rest_before_they_get_an_address_and_wait_for_istiods_names()
    {
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync(time: time, change: o => o with { VirtualIpRest = TimeSpan.FromSeconds(2) });
        lab.Server.VirtualIps.Accept(["known.example.net", "private.example.net"]);
        await ForwarderTests.ArmedAsync(time, TimeSpan.FromSeconds(2));
        time.Advance(TimeSpan.FromSeconds(2));
        Assert.Null(lab.Server.Names.Accept(DnsMessages.Nds(("known.example.net", ["240.240.0.1"], "External", "", ""))));
        // the names may arrive before or after the end of the first rest; in the second case there is another one
        await Test.UntilAsync(() =>
        {
            time.Advance(TimeSpan.FromSeconds(2));
            return lab.Server.VirtualIps.Current.Hosts.Count > 0;
        });
        Assert.Equal(["private.example.net"], lab.Server.VirtualIps.Current.Hosts.Keys); // never one for the other, not even for a moment
        Assert.Empty(lab.Server.VirtualIps.Current.Resting);
    }

    [Theory]
    [InlineData(50)]
    [InlineData(2000 * 365)] // days: more than a timer takes
    public async Task A_rest_of_any_length_harms_nobody(int days)
    {
        var time = new ManualTimeProvider();
        await using DnsLab lab = await DnsLab.StartAsync(time: time, change: o => o with { VirtualIpRest = TimeSpan.FromDays(days) });
        lab.Server.VirtualIps.Accept(["private.example.net"]);
        await ForwarderTests.ArmedAsync(time, TimeSpan.FromMilliseconds(uint.MaxValue - 1));
        Assert.False(lab.Server.Completion.IsCompleted);
        Assert.Empty(lab.Server.VirtualIps.Current.Hosts);
    }

    [Fact]
    public async Task Assignments_survive_a_restart()
    {
        await using FakeUpstream upstream = FakeUpstream.Failing(DnsRcode.NxDomain);
        await using DnsLab first = await DnsLab.StartAsync([upstream], new ManualTimeProvider());
        await first.ShowHostsAsync("one.example.net", "two.example.net");
        string one = (await first.AskAsync("one.example.net")).Answers.Single();
        await first.StopAsync();
        await using DnsLab second = await DnsLab.StartAsync([upstream], new ManualTimeProvider(), change: o => o with { StateDirectory = first.Options.StateDirectory });
        Assert.Equal(one, (await second.AskAsync("one.example.net")).Answers.Single()); // before the first cluster is seen
        await second.ShowHostsAsync("one.example.net");
        Assert.Equal(one, (await second.AskAsync("one.example.net")).Answers.Single());
        Assert.Equal("NXDOMAIN", (await second.AskAsync("two.example.net")).Rcode);
    }

    [Fact]
    public async Task A_virtual_ip_that_istiod_moves_is_said()
    {
        await using DnsLab lab = await DnsLab.StartAsync();
        Assert.Null(lab.Server.Names.Accept(DnsMessages.Nds(("a.example", ["240.240.0.1"], "External", "", ""), ("b.example", ["192.0.2.1"], "External", "", ""))));
        Assert.Null(lab.Server.Names.Accept(DnsMessages.Nds(("a.example", ["240.240.0.2"], "External", "", ""), ("b.example", ["192.0.2.2"], "External", "", ""))));
        Assert.Single(lab.Log.Lines, l => l.Contains("istiod moved the virtual IP of a.example. from 240.240.0.1 to 240.240.0.2", StringComparison.Ordinal));
        Assert.DoesNotContain(lab.Log.Lines, l => l.Contains("b.example", StringComparison.Ordinal));
    }

    private static string NameOf(byte[] query)
    {
        Assert.Equal(QueryVerdict.Accepted, DnsQuery.Read(query, out DnsQuery parsed));
        return WireName.ToText(parsed.Name(query));
    }
}
