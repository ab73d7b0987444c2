using System.Text.Json.Nodes;
using VmSidecar.TestKit;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>Every answer recorded from the classic agent, with the recorded table and an upstream that knows what the recorded one knew.</summary>
public sealed class RecordedAnswersTests
{
    // deliberate difference: a name of the table has no MX, SRV or TXT that upstream refuses; the classic agent passes the refusal on
    private static readonly string[] NodataTypes = ["MX", "SRV", "TXT"];
    private static readonly string[] TableNames = ["nginx.example.com", "mongo.example.com", "a.wild.example.com", "www.external.example", "vm-app.vm-ns.svc.cluster.local"];

    [Fact]
    public async Task Every_recorded_answer_is_met()
    {
        string folder = Path.Combine(AppContext.BaseDirectory, "Fixtures", "dns");
        await using var upstream = new FakeUpstream(static (query, _) => [Upstream(query)]);
        await using DnsLab lab = await DnsLab.StartAsync([upstream], new ManualTimeProvider(), change: o => o with { Namespace = "vm-ns", Domain = "vm-ns.svc.cluster.local" });
        Assert.Null(lab.Server.Names.Accept(await File.ReadAllBytesAsync(Path.Combine(folder, "istiod-1.31-nametable.binpb"))));
        JsonArray recorded = JsonNode.Parse(await File.ReadAllTextAsync(Path.Combine(folder, "pilot-agent-1.31.json")))!["answers"]!.AsArray();
        Assert.NotEmpty(recorded);
        foreach (JsonNode? item in recorded) { await CheckAsync(lab, item!); }
    }

    private static async Task CheckAsync(DnsLab lab, JsonNode item)
    {
        string name = item["q"]!.GetValue<string>(), type = item["type"]!.GetValue<string>(), rcode = item["rcode"]!.GetValue<string>(), flags = item["flags"]!.GetValue<string>();
        Assert.True(DnsType.TryParse(type, out ushort number));
        DnsText got = item["proto"]!.GetValue<string>() == "tcp" ? await lab.AskTcpAsync(name, number) : await lab.AskAsync(name, number);
        if (NodataTypes.Contains(type) && TableNames.Contains(name.ToLowerInvariant().TrimEnd('.'))) { (rcode, flags) = ("NOERROR", "QR AA RD"); }
        string[] answers = [.. item["answers"]!.AsArray().Select(a => a!.GetValue<string>())];
        string[] ours = [.. got.Answers.Select(a => a.Replace(" A ", " ", StringComparison.Ordinal).Replace(" AAAA ", " ", StringComparison.Ordinal))];
        Assert.Equal($"{name} {type} {rcode} {flags} {string.Join(',', answers)}", $"{name} {type} {got.Rcode} {Flags(got.Header)} {string.Join(',', ours)}");
    }

    /// <summary>foo.upstream.test A 192.0.2.53 with the flags of the recorded dnsmasq; REFUSED for all else.</summary>
    private static byte[] Upstream(byte[] query)
    {
        Assert.Equal(QueryVerdict.Accepted, DnsQuery.Read(query, out DnsQuery parsed));
        bool known = WireName.ToText(parsed.Name(query)) == "foo.upstream.test." && parsed.Question.Type == DnsType.A;
        byte[] reply = known ? DnsMessages.Reply(query, 0, 0, "192.0.2.53") : DnsMessages.Reply(query, DnsRcode.Refused);
        if (known) { reply[2] |= 4; }
        return reply;
    }

    private static string Flags(DnsHeader header)
    {
        (ushort Bit, string Text)[] bits = [(DnsHeader.Response, "QR"), (DnsHeader.Authoritative, "AA"), (DnsHeader.Truncated, "TC"), (DnsHeader.RecursionDesired, "RD"), (DnsHeader.RecursionAvailable, "RA")];
        return string.Join(' ', bits.Where(b => (header.Flags & b.Bit) != 0).Select(b => b.Text));
    }
}
