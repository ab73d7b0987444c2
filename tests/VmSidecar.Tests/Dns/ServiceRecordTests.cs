using VmSidecar.Dns;
using VmSidecar.TestKit;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>SRV for services of the table, with the ports their clusters name.</summary>
public sealed class ServiceRecordTests
{
    [Theory]
    [InlineData("_http._tcp.ledger.payments.svc.cluster.local", "000000000050", "ledger.payments.svc.cluster.local.")] // IANA's port, of two
    [InlineData("_HTTP._tcp.ledger", "000000000050", "ledger.payments.svc.cluster.local.")]
    [InlineData("_grpc._tcp.catalog.shop", "00000000219B", "catalog.shop.svc.cluster.local.")] // the only port of a Kubernetes service
    [InlineData("_http._tcp.x.cdn.example", "000000000050", "x.cdn.example.")]                 // a wildcard: the name asked for
    [InlineData("_mongodb._tcp.api.partner.example", "000000006989", "api.partner.example.")]
    public async Task A_service_of_the_table_has_an_srv_record(string question, string numbers, string target)
    {
        await using DnsLab lab = await StartAsync();
        byte[] reply = await lab.AskRawAsync(DnsMessages.Query(question, DnsType.SRV));
        DnsText text = DnsMessages.Read(reply);
        string record = Assert.Single(text.Answers);
        string data = record.Split(' ')[^1];
        Assert.Equal(numbers, data[..12]);
        Assert.Equal(target, WireName.ToText(Convert.FromHexString(data[12..])));
    }

    [Theory]
    [InlineData("_mongodb._tcp.ledger")]              // two ports, neither of that name
    [InlineData("_kerberos._tcp.api.partner.example")] // an external host's only port is no proof
    [InlineData("_http._udp.ledger")]
    [InlineData("_http.ledger")]
    [InlineData("_http._tcp.unknown.example")]
    public async Task What_nobody_said_is_asked_upstream(string question)
    {
        await using FakeUpstream upstream = FakeUpstream.Failing(DnsRcode.NxDomain);
        await using DnsLab lab = await StartAsync(upstream);
        Assert.Equal("NXDOMAIN", (await lab.AskAsync(question, DnsType.SRV)).Rcode);
    }

    [Fact]
    public async Task In_1_10_mode_there_are_none()
    {
        await using FakeUpstream upstream = FakeUpstream.Failing(DnsRcode.NxDomain);
        await using DnsLab lab = await StartAsync(upstream, compat110: true);
        Assert.Equal("NXDOMAIN", (await lab.AskAsync("_http._tcp.ledger", DnsType.SRV)).Rcode);
    }

    [Fact]
    public void Ports_go_with_the_last_cluster_that_has_them()
    {
        var ports = new ServicePorts();
        ports.Add("a.example", 80);
        ports.Add("a.example", 80); // a subset's
        ports.Remove("a.example", 80);
        Assert.Equal(80, ports.Find(WireName.Encode("a.example"), "http"u8, isKubernetes: false));
        ports.Remove("a.example", 80);
        Assert.Equal(0, ports.Find(WireName.Encode("a.example"), "http"u8, isKubernetes: false));
    }

    private static async Task<DnsLab> StartAsync(FakeUpstream? upstream = null, bool compat110 = false)
    {
        DnsLab lab = await DnsLab.StartAsync(upstream is null ? [] : [upstream], new ManualTimeProvider(), change: o => o with { Compat110 = compat110, VirtualIps = VmSidecar.Configuration.VirtualIpMode.Off });
        Assert.Null(lab.Server.Names.Accept(AnswerCasesTests.Fixture));
        string[] clusters = ["outbound|80||ledger.payments.svc.cluster.local", "outbound|80|v1|ledger.payments.svc.cluster.local", "outbound|9090||ledger.payments.svc.cluster.local",
            "outbound|8603||catalog.shop.svc.cluster.local", "outbound|27017||API.partner.example", "outbound|80||*.cdn.example"];
        lab.Server.Clusters.Observe(delta: false, [.. clusters.SelectMany(c => DnsMessages.Field(2, DnsMessages.Field(2, [.. DnsMessages.Field(1, c), 0x10, 3])))]);
        return lab;
    }
}
