using System.Text.Json.Nodes;
using VmSidecar.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

public sealed class NameTableJsonTests
{
    [Fact]
    public void It_shows_what_istiod_sent_and_every_further_name_with_a_dot()
    {
        byte[] nds = DnsMessages.Nds(
            ("ledger.payments.svc.cluster.local", ["10.96.10.11"], "Kubernetes", "ledger", "payments"),
            ("catalog.shop.svc.cluster.local", ["10.96.20.22", "fd00:96::22"], "Kubernetes", "catalog", "shop"),
            ("audit.payments.svc.cluster.west", ["10.97.1.1"], "Kubernetes", "audit", "payments"),
            ("API.Partner.example", ["240.240.0.9"], "External", "", ""));
        JsonObject table = JsonNode.Parse(NameTableJson.Write(nds, new NameScope("payments", "payments.svc.cluster.local", compat110: false)))!["table"]!.AsObject();
        Assert.Equal(
            ["API.Partner.example", "API.Partner.example.", "audit.payments.svc.cluster.west", "audit.payments.svc.cluster.west.",
                "catalog.shop.", "catalog.shop.svc.", "catalog.shop.svc.cluster.local", "catalog.shop.svc.cluster.local.",
                "ledger.", "ledger.payments.", "ledger.payments.svc.", "ledger.payments.svc.cluster.local", "ledger.payments.svc.cluster.local."],
            table.Select(h => h.Key).Order(StringComparer.Ordinal));
        Assert.Equal("""{"ips":["10.96.20.22","fd00:96::22"],"registry":"Kubernetes","shortname":"catalog","namespace":"shop"}""", table["catalog.shop.svc.cluster.local"]!.ToJsonString());
        Assert.Equal("""{"ips":["10.96.20.22","fd00:96::22"],"registry":"Kubernetes"}""", table["catalog.shop."]!.ToJsonString());
        Assert.Equal("""{"ips":["240.240.0.9"],"registry":"External"}""", table["API.Partner.example"]!.ToJsonString());
    }

    [Fact]
    public void An_empty_table_is_a_table() => Assert.Equal("""{"table":{}}""", NameTableJson.Write([], new NameScope("a", "b", compat110: false)));
}
