using VmSidecar.Configuration;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>What the settings change in the answers of a whole server: lifetimes, and CNAME or not below a search domain.</summary>
public sealed class AnswerSettingsTests
{
    private static readonly TimeSpan Long = TimeSpan.FromSeconds(600), Short = TimeSpan.FromSeconds(2);

    [Theory]
    [InlineData("ledger.", DnsType.A, "ledger. 600 A 10.96.10.11")]
    [InlineData("ledger.corp.example.", DnsType.A, "ledger.corp.example. 600 CNAME ledger.|ledger. 600 A 10.96.10.11")]
    [InlineData("catalog.shop.", DnsType.AAAA, "catalog.shop. 600 AAAA fd00:96::22")]                // two addresses, one of a family: no headless service
    [InlineData("kafka-0.kafka.data.", DnsType.A, "kafka-0.kafka.data. 2 A 10.244.7.1")]             // a member of one
    [InlineData("kafka-0.kafka.data.corp.example.", DnsType.A, "kafka-0.kafka.data.corp.example. 2 CNAME kafka-0.kafka.data.|kafka-0.kafka.data. 2 A 10.244.7.1")]
    [InlineData("api.partner.example.", DnsType.A, "api.partner.example. 600 A 240.240.0.9")]
    [InlineData("11.10.96.10.in-addr.arpa.", DnsType.PTR, "11.10.96.10.in-addr.arpa. 600 PTR ledger.payments.svc.cluster.local.")]
    public async Task Addresses_of_pods_have_a_lifetime_of_their_own(string name, ushort type, string expected)
    {
        await using DnsLab lab = await StartAsync(o => o with { Ttl = Long, HeadlessTtl = Short });
        Assert.Equal(expected, string.Join('|', (await lab.AskAsync(name, type)).Answers));
    }

    [Fact]
    public async Task A_service_of_many_pods_has_the_lifetime_of_pods()
    {
        await using DnsLab lab = await StartAsync(o => o with { Ttl = Long, HeadlessTtl = Short });
        DnsText reply = await lab.AskAsync("kafka.data.", DnsType.A);
        Assert.NotEmpty(reply.Answers);
        Assert.All(reply.Answers, answer => Assert.StartsWith("kafka.data. 2 A 10.244.7.", answer, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_service_of_one_pod_has_the_lifetime_of_pods_where_the_pod_has_a_name(bool podFirst) // a StatefulSet of one
    {
        (string, string[], string, string, string)[] hosts =
        [
            ("db-0.db.data.svc.cluster.local", ["10.244.9.1"], "Kubernetes", "db-0.db", "data"),
            ("db.data.svc.cluster.local", ["10.244.9.1"], "Kubernetes", "db", "data"),
            ("data.svc.cluster.local", ["10.96.9.9"], "Kubernetes", "data", "svc"),
            ("pod.ext.example", ["10.244.9.2"], "Kubernetes", "pod.ext", "data"),
            ("ext.example", ["10.244.9.2"], "External", "", ""),
        ];
        if (!podFirst) { Array.Reverse(hosts); }
        await using DnsLab lab = await StartAsync(o => o with { Ttl = Long, HeadlessTtl = Short });
        Assert.Null(lab.Server.Names.Accept(DnsMessages.Nds(hosts)));
        Assert.Equal(["db-0.db.data. 2 A 10.244.9.1"], (await lab.AskAsync("db-0.db.data.")).Answers);
        Assert.Equal(["db.data. 2 A 10.244.9.1"], (await lab.AskAsync("db.data.")).Answers);
        Assert.Equal(["data.svc.cluster.local. 600 A 10.96.9.9"], (await lab.AskAsync("data.svc.cluster.local.")).Answers); // the one above is no member's service
        Assert.Equal(["ext.example. 600 A 10.244.9.2"], (await lab.AskAsync("ext.example.")).Answers);                       // nor is what is not of Kubernetes
    }

    [Theory]
    [InlineData("ledger.corp.example.", DnsType.A, "ledger.corp.example. 30 A 10.96.10.11")]
    [InlineData("catalog.shop.svc.corp.example.", DnsType.AAAA, "catalog.shop.svc.corp.example. 30 AAAA fd00:96::22")]
    [InlineData("a.cdn.example.corp.example.", DnsType.A, "a.cdn.example.corp.example. 30 A 240.240.1.1")]
    [InlineData("ledger.", DnsType.A, "ledger. 30 A 10.96.10.11")]
    [InlineData("ledger.corp.example.", DnsType.AAAA, "")]
    public async Task Without_aliases_a_name_below_a_search_domain_has_the_addresses_itself(string name, ushort type, string expected)
    {
        await using DnsLab lab = await StartAsync(o => o with { Aliases = false });
        DnsText reply = await lab.AskAsync(name, type);
        Assert.Equal(("NOERROR", expected), (reply.Rcode, string.Join('|', reply.Answers)));
    }

    [Fact]
    public async Task An_empty_answer_is_kept_no_longer_than_a_full_one()
    {
        await using DnsLab lab = await StartAsync(o => o with { Ttl = Short });
        Assert.StartsWith("ledger. 2 SOA ", Assert.Single((await lab.AskAsync("ledger.", DnsType.AAAA)).Authorities), StringComparison.Ordinal);
    }

    private static async Task<DnsLab> StartAsync(Func<DnsOptions, DnsOptions> change)
    {
        DnsLab lab = await DnsLab.StartAsync([], change: change, resolvConf: "search corp.example\n");
        Assert.Null(lab.Server.Names.Accept(AnswerCasesTests.Fixture));
        return lab;
    }
}
