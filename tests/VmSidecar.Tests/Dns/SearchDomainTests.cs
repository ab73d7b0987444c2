using System.Net;
using System.Net.Sockets;
using VmSidecar.Dns;
using VmSidecar.TestKit;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>What the search list of resolv.conf does, beside the worked examples.</summary>
public sealed class SearchDomainTests
{
    private static readonly byte[] Wildcard = DnsMessages.Nds(("*.example", ["240.240.0.7"], "External", "", ""), ("db.prod.example", ["240.240.0.8"], "External", "", ""));

    [Theory] // reference 04 trap 9
    [InlineData("typo.corp.example", "NXDOMAIN")]      // a short name a user typed, tried below the search domain
    [InlineData("www.corp.example", "240.240.0.7")]    // it exists: the mesh's
    [InlineData("any.other.example", "240.240.0.7")]   // not below the search domain: not asked upstream at all
    [InlineData("db.prod.example", "240.240.0.8")]
    public async Task A_wildcard_over_a_search_domain_does_not_take_every_short_name(string name, string expected)
    {
        await using var upstream = new FakeUpstream((query, _) => [NameOf(query).StartsWith("www.", StringComparison.Ordinal) ? DnsMessages.Reply(query, 0, 60, "198.51.100.1") : DnsMessages.Reply(query, DnsRcode.NxDomain)]);
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider(), resolvConf: "search corp.example");
        Assert.Null(lab.Server.Names.Accept(Wildcard));
        for (int i = 0; i < 2; i++) // from upstream, then from the cache
        {
            DnsText reply = await lab.AskAsync(name);
            Assert.Equal(expected, reply.Answers.Count == 0 ? reply.Rcode : reply.Answers.Single().Split(' ')[^1]);
        }
        Assert.Equal(name.EndsWith("corp.example", StringComparison.Ordinal) ? 1 : 0, upstream.Count);
    }

    [Fact]
    public async Task With_upstream_gone_the_wildcard_answers()
    {
        await using DnsLab lab = await DnsLab.StartAsync(resolvConf: "search corp.example");
        Assert.Null(lab.Server.Names.Accept(Wildcard));
        Assert.Equal(["www.corp.example. 30 A 240.240.0.7"], (await lab.AskAsync("www.corp.example")).Answers);
    }

    [Theory]
    [InlineData("nameserver fe80::1%lo", "fe80::1", 1)]
    [InlineData("nameserver fe80::1", "fe80::1", 0)]
    [InlineData("nameserver ::1", "::1", 0)]
    [InlineData("nameserver 192.0.2.1 # a comment", "192.0.2.1", -1)]
    [InlineData("\tnameserver\t192.0.2.1\r", "192.0.2.1", -1)]
    public void Nameservers_are_read_as_the_resolver_library_does(string line, string address, long zone)
    {
        IPEndPoint server = Assert.Single(ResolvConf.Parse(line).Servers);
        Assert.Equal((53, new IPAddress(IPAddress.Parse(address).GetAddressBytes())), (server.Port, new IPAddress(server.Address.GetAddressBytes())));
        if (server.AddressFamily == AddressFamily.InterNetworkV6) { Assert.Equal(zone, server.Address.ScopeId); }
    }

    private static string NameOf(byte[] query)
    {
        Assert.Equal(QueryVerdict.Accepted, DnsQuery.Read(query, out DnsQuery parsed));
        return WireName.ToText(parsed.Name(query));
    }
}
