using System.Collections.Immutable;
using VmSidecar.Dns;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>The worked examples of the specification (reference 04 §9): today's answers and 1.10's, with our deliberate differences marked.</summary>
public sealed class AnswerCasesTests
{
    private const string R1 = "search corp.example lab.example\nnameserver 127.0.0.53";
    private const string R2 = "search payments.svc.cluster.local svc.cluster.local cluster.local\nnameserver 127.0.0.53";
    private const string R3 = "nameserver 127.0.0.53";
    private const string R1Dot = "search corp.example.\nnameserver 127.0.0.53";
    private const string Fwd = "FWD", NoData = "NODATA";

    internal static readonly byte[] Fixture = DnsMessages.Nds(
        ("ledger.payments.svc.cluster.local", ["10.96.10.11"], "Kubernetes", "ledger", "payments"),
        ("catalog.shop.svc.cluster.local", ["10.96.20.22", "fd00:96::22"], "Kubernetes", "catalog", "shop"),
        ("kafka.data.svc.cluster.local", [.. Enumerable.Range(1, 40).Select(i => $"10.244.7.{i}")], "Kubernetes", "kafka", "data"),
        ("kafka-0.kafka.data.svc.cluster.local", ["10.244.7.1"], "Kubernetes", "kafka-0.kafka", "data"),
        ("audit.payments.svc.cluster.west", ["10.97.1.1"], "Kubernetes", "audit", "payments"),
        ("API.Partner.example", ["240.240.0.9"], "External", "", ""),
        ("v6only.partner.example", ["2001:2::f0f0:9"], "External", "", ""),
        ("mapped.partner.example", ["::ffff:198.51.100.7"], "External", "", ""),
        ("dot.partner.example.", ["240.240.0.10"], "External", "", ""),
        ("*.cdn.example", ["240.240.1.1"], "External", "", ""),
        ("*.img.cdn.example", ["240.240.1.2"], "External", "", ""),
        ("empty.partner.example", [], "External", "", ""),
        ("bad.partner.example", ["10.0.0.0/24", "not-an-ip"], "External", "", ""));

    /// <summary>Case, resolv.conf, type, name, the peers' answer today, 1.10's ("" = the same), ours ("" = as today's), and why ours differs.</summary>
    public static readonly ImmutableArray<(string Case, string Conf, ushort Type, string Name, string Today, string Old, string Ours, string Why)> Cases =
    [
        ("1", R1, DnsType.A, "ledger.payments.svc.cluster.local.", "ledger.payments.svc.cluster.local. 30 A 10.96.10.11", "", "", ""),
        ("2a", R1, DnsType.A, "ledger.", "ledger. 30 A 10.96.10.11", "", "", ""),
        ("2b", R1, DnsType.A, "ledger.payments.", "ledger.payments. 30 A 10.96.10.11", "", "", ""),
        ("2c", R1, DnsType.A, "ledger.payments.svc.", "ledger.payments.svc. 30 A 10.96.10.11", "", "", ""),
        ("3", R1, DnsType.A, "ledger.payments.svc.cluster.", Fwd, "", "", ""),
        ("4", R1, DnsType.AAAA, "ledger.", NoData, "", "", ""),
        ("5", R1, DnsType.A, "ledger.corp.example.", "ledger.corp.example. 30 CNAME ledger.|ledger. 30 A 10.96.10.11", "", "", ""),
        ("6", R1, DnsType.A, "ledger.payments.svc.cluster.local.corp.example.", "ledger.payments.svc.cluster.local.corp.example. 30 CNAME ledger.payments.svc.cluster.local.|ledger.payments.svc.cluster.local. 30 A 10.96.10.11", "", "", ""),
        ("7", R1, DnsType.AAAA, "ledger.corp.example.", NoData, "", "", ""),
        ("8", R1, DnsType.A, "ledger.lab.example.", Fwd, "", "ledger.lab.example. 30 CNAME ledger.|ledger. 30 A 10.96.10.11", "every search domain counts: a resolver goes on to the second after NODATA"),
        ("9", R1, DnsType.A, "catalog.", Fwd, "", "", ""),
        ("10a", R1, DnsType.A, "catalog.shop.", "catalog.shop. 30 A 10.96.20.22", "", "", ""),
        ("10b", R1, DnsType.AAAA, "catalog.shop.", "catalog.shop. 30 AAAA fd00:96::22", "", "", ""),
        ("11", R1, DnsType.AAAA, "catalog.shop.svc.corp.example.", "catalog.shop.svc.corp.example. 30 CNAME catalog.shop.svc.|catalog.shop.svc. 30 AAAA fd00:96::22", "", "", ""),
        ("12", R1, DnsType.A, "audit.payments.svc.cluster.west.", "audit.payments.svc.cluster.west. 30 A 10.97.1.1", "", "", ""),
        ("13", R1, DnsType.A, "audit.payments.", Fwd, "", "", ""),
        ("14a", R1, DnsType.A, "kafka-0.kafka.data.", "kafka-0.kafka.data. 30 A 10.244.7.1", "", "", ""),
        ("14b", R1, DnsType.A, "kafka-0.kafka.data.svc.", "kafka-0.kafka.data.svc. 30 A 10.244.7.1", "", "", ""),
        ("15", R1, DnsType.A, "kafka-0.kafka.", Fwd, "", "", ""),
        ("16", R1, DnsType.A, "ApI.PaRtNeR.ExAmPlE.", "api.partner.example. 30 A 240.240.0.9", "", "", ""),
        ("17a", R1, DnsType.A, "v6only.partner.example.", NoData, "", "", ""),
        ("17b", R1, DnsType.AAAA, "v6only.partner.example.", "v6only.partner.example. 30 AAAA 2001:2::f0f0:9", "", "", ""),
        ("18a", R1, DnsType.A, "mapped.partner.example.", NoData, "mapped.partner.example. 30 A 198.51.100.7", "", ""),
        ("18b", R1, DnsType.AAAA, "mapped.partner.example.", "mapped.partner.example. 30 AAAA ::ffff:198.51.100.7", NoData, "", ""),
        ("19", R1, DnsType.A, "dot.partner.example.", "dot.partner.example. 30 A 240.240.0.10", Fwd, "", ""),
        ("20a", R1, DnsType.A, "a.cdn.example.", "a.cdn.example. 30 A 240.240.1.1", Fwd, "", ""),
        ("20b", R1, DnsType.A, "a.b.cdn.example.", "a.b.cdn.example. 30 A 240.240.1.1", Fwd, "", ""),
        ("21", R1, DnsType.A, "x.img.cdn.example.", "x.img.cdn.example. 30 A 240.240.1.2", Fwd, "", ""),
        ("22", R1, DnsType.A, "img.cdn.example.", "img.cdn.example. 30 A 240.240.1.1", Fwd, "", ""),
        ("23", R1, DnsType.A, "cdn.example.", Fwd, "", "", ""),
        ("24", R1, DnsType.AAAA, "a.cdn.example.", NoData, Fwd, "", ""),
        ("25", R1, DnsType.A, "a.cdn.example.corp.example.", "a.cdn.example.corp.example. 30 CNAME *.cdn.example.|*.cdn.example. 30 A 240.240.1.1", Fwd,
            "a.cdn.example.corp.example. 30 CNAME a.cdn.example.|a.cdn.example. 30 A 240.240.1.1", "glibc before 2.37 refuses answers with an asterisk"),
        ("26", R1, DnsType.A, "*.cdn.example.", "*.cdn.example. 30 A 240.240.1.1", "", "", ""),
        ("27a", R1, DnsType.A, "empty.partner.example.", Fwd, "", "", ""),
        ("27b", R1, DnsType.A, "bad.partner.example.", Fwd, "", "", ""),
        ("28a", R1, DnsType.TXT, "ledger.", Fwd, "", NoData, "the name exists nowhere else; upstream would say NXDOMAIN"),
        ("28b", R1, DnsType.SRV, "ledger.", Fwd, "", NoData, "as 28a"),
        ("28c", R1, DnsType.HTTPS, "ledger.", Fwd, "", NoData, "a public HTTPS record's address hints lead past the mesh"),
        ("28d", R1, DnsType.ANY, "ledger.", Fwd, "", NoData, "as 28a"),
        ("28e", R1, DnsType.MX, "api.partner.example.", Fwd, "", "ForwardElseEmpty", "may exist upstream; if not, the name still does"),
        ("29a", R1, DnsType.PTR, "11.10.96.10.in-addr.arpa.", Fwd, "", "11.10.96.10.in-addr.arpa. 30 PTR ledger.payments.svc.cluster.local.", "addresses of the mesh have names only here"),
        ("29b", R1, DnsType.NS, ".", Fwd, "", "", ""),
        ("30", R2, DnsType.A, "ledger.payments.payments.svc.cluster.local.", "ledger.payments.payments.svc.cluster.local. 30 CNAME ledger.payments.|ledger.payments. 30 A 10.96.10.11", "", "", ""),
        ("31", R2, DnsType.A, "ledger.payments.svc.cluster.local.payments.svc.cluster.local.", Fwd, "ledger.payments.svc.cluster.local.payments.svc.cluster.local. 30 CNAME ledger.payments.svc.cluster.local.|ledger.payments.svc.cluster.local. 30 A 10.96.10.11", "", ""),
        ("32", R2, DnsType.A, "catalog.shop.svc.cluster.local.payments.svc.cluster.local.", "catalog.shop.svc.cluster.local.payments.svc.cluster.local. 30 CNAME catalog.shop.svc.cluster.local.|catalog.shop.svc.cluster.local. 30 A 10.96.20.22", "", "", ""),
        ("33a", R2, DnsType.A, "ledger.svc.cluster.local.", Fwd, "", "ledger.svc.cluster.local. 30 CNAME ledger.|ledger. 30 A 10.96.10.11", "as 8"),
        ("33b", R2, DnsType.A, "catalog.payments.svc.cluster.local.", Fwd, "", "", ""),
        ("34a", R2, DnsType.A, "api.partner.example.payments.svc.cluster.local.", "api.partner.example.payments.svc.cluster.local. 30 CNAME api.partner.example.|api.partner.example. 30 A 240.240.0.9", "", "", ""),
        ("34b", R2, DnsType.A, "api.partner.example.svc.cluster.local.", Fwd, "", "api.partner.example.svc.cluster.local. 30 CNAME api.partner.example.|api.partner.example. 30 A 240.240.0.9", "as 8"),
        ("34c", R3, DnsType.A, "ledger.", "ledger. 30 A 10.96.10.11", "", "", ""),
        ("34d", R3, DnsType.A, "ledger.corp.example.", Fwd, "", "", ""),
        ("35", R1Dot, DnsType.A, "ledger.corp.example.", "ledger.corp.example. 30 CNAME ledger.|ledger. 30 A 10.96.10.11", "", "", ""),
    ];

    public static TheoryData<string> Names => [.. Cases.Select(c => c.Case)];

    [Theory]
    [MemberData(nameof(Names))]
    public void Answers_as_today_but_for_the_listed_differences(string name)
    {
        var c = Cases.Single(c => c.Case == name);
        string expected = c.Ours.Length > 0 ? c.Ours : c.Today;
        Assert.Equal(c.Ours.Length > 0, c.Why.Length > 0);
        Assert.Equal(expected, Ask(c.Conf, c.Type, c.Name, compat110: false));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Answers_as_1_10_when_told_to(string name)
    {
        var c = Cases.Single(c => c.Case == name);
        Assert.Equal(c.Old.Length > 0 ? c.Old : c.Today, Ask(c.Conf, c.Type, c.Name, compat110: true));
    }

    [Fact]
    public void The_example_of_the_specification_is_met_byte_for_byte()
    {
        byte[] reply = new byte[512];
        AnswerResult result = new Answerer(compat110: false).Answer(DnsMessages.Query("ledger."), Snapshot(R1, false), tcp: false, 0, reply, out _);
        Assert.Equal("12348500000100010000000006" + "6c65646765720000010001066c656467657200000100010000001e00040a600a0b".ToUpperInvariant(), Convert.ToHexString(reply[..result.Length]));
    }

    [Theory] // cases 36, 37, 38, 39
    [InlineData("kafka.data.svc.cluster.local.", -1, false, 29, 510, true)]
    [InlineData("kafka.data.svc.cluster.local.", 1232, false, 40, 686 + 11, false)] // and OPT, as RFC 6891 §6.1.1 asks
    [InlineData("kafka.data.svc.cluster.local.", -1, true, 40, 1806, false)]
    [InlineData("kafka.data.", -1, false, 30, 508, true)]
    [InlineData("kafka.data.svc.cluster.local.", -1, false, 29, 510, true, true)]
    [InlineData("kafka.data.svc.cluster.local.", 1232, false, 40, 686, false, true)] // 1.10 sends no OPT
    [InlineData("kafka.data.svc.cluster.local.", -1, true, 40, 1806, false, true)]
    [InlineData("kafka.data.", -1, false, 30, 508, true, true)]
    public void Long_answers_are_compressed_and_cut_at_a_record(string name, int edns, bool tcp, int records, int length, bool truncated, bool compat110 = false)
    {
        byte[] reply = new byte[65535];
        AnswerResult result = new Answerer(compat110).Answer(DnsMessages.Query(name, ednsSize: edns), Snapshot(R1, compat110), tcp, 7, reply, out _);
        DnsText text = DnsMessages.Read(reply.AsSpan(0, result.Length));
        Assert.Equal((records, length, truncated), (text.Answers.Count, result.Length, text.Header.IsTruncated));
        Assert.Equal(edns < 0 || compat110 ? [] : ["OPT 4096"], text.Additionals);
        Assert.All(text.Answers, a => Assert.StartsWith(name + " 30 A 10.244.7.", a, StringComparison.Ordinal));
        Assert.Distinct(text.Answers);
    }

    [Fact] // case 40
    public void Repeated_questions_get_the_addresses_in_another_order()
    {
        var answerer = new Answerer(compat110: false);
        byte[] reply = new byte[65535];
        HashSet<string> firsts = [];
        for (uint rotation = 0; rotation < 40; rotation++)
        {
            AnswerResult result = answerer.Answer(DnsMessages.Query("kafka.data."), Snapshot(R1, false), tcp: false, rotation, reply, out _);
            firsts.Add(DnsMessages.Read(reply.AsSpan(0, result.Length)).Answers[0]);
        }
        Assert.Equal(40, firsts.Count);
    }

    [Theory] // cases 49, 50 and reference 04 §1.3
    [InlineData("123401000002000000000000", "123481010000000000000000")]
    [InlineData("432128000000000000000000", "4321A8040000000000000000")]
    [InlineData("123481000001000000000000", "")] // a response
    [InlineData("1234", "")]                     // no header
    [InlineData("123401000001000200000000", "123481010000000000000000")] // two answers
    [InlineData("123401000001000000000003", "123481010000000000000000")] // three additionals
    [InlineData("123401000000000000000000", "123481010000000000000000")] // no question: FORMERR, not SERVFAIL
    [InlineData("12340100000100000000000006", "123481010000000000000000")] // a question that ends early
    [InlineData("1234010000010000000000010161000001000100", "12348101000100000000000001610000010001")] // the question is kept when only what follows is broken
    public void Requests_are_screened_by_their_header(string packet, string expected)
    {
        byte[] reply = new byte[512];
        foreach (bool compat110 in (bool[])[false, true])
        {
            AnswerResult result = new Answerer(compat110).Answer(Convert.FromHexString(packet), Snapshot(R1, compat110), tcp: false, 0, reply, out _);
            Assert.Equal(expected, Convert.ToHexString(reply[..result.Length]));
            Assert.Equal(expected.Length == 0 ? AnswerAction.Drop : AnswerAction.Reply, result.Action);
        }
    }

    [Theory] // case 52: the first label of the domain is whatever it is
    [InlineData("ledger.")]
    [InlineData("ledger.payments.")]
    [InlineData("ledger.payments.cluster.")]
    [InlineData("ledger.payments.svc.cluster.local.")]
    public void An_odd_domain_gives_odd_short_names(string name)
    {
        foreach (bool compat110 in (bool[])[false, true])
        {
            var scope = new NameScope("payments", "cluster.local", compat110);
            Assert.Equal(name + " 30 A 10.96.10.11", Ask(Table(scope), R1, DnsType.A, name, compat110));
            Assert.Equal(Fwd, Ask(Table(scope), R1, DnsType.A, "ledger.payments.svc.", compat110));
        }
    }

    [Fact]
    public void Unknown_edns_versions_are_told_so()
    {
        byte[] query = DnsMessages.Query("ledger.", ednsSize: 1232);
        query[^5] = 1; // the version
        byte[] reply = new byte[512];
        AnswerResult result = new Answerer(compat110: false).Answer(query, Snapshot(R1, false), tcp: false, 0, reply, out _);
        DnsReader reader = new(reply.AsSpan(0, result.Length), DnsHeader.Size);
        Assert.True(reader.TryReadQuestion(out _) && reader.TryReadRecord(out DnsRecord opt) && opt.Ttl >> 24 == 1); // BADVERS
    }

    [Fact]
    public void Nodata_carries_a_soa_that_expires_soon()
    {
        byte[] reply = new byte[512];
        AnswerResult result = new Answerer(compat110: false).Answer(DnsMessages.Query("LEDGER.", DnsType.AAAA), Snapshot(R1, false), tcp: false, 0, reply, out _);
        DnsText text = DnsMessages.Read(reply.AsSpan(0, result.Length));
        Assert.Equal(["ledger. 5 SOA vmsidecar.invalid."], text.Authorities);
        Assert.Equal("LEDGER. AAAA", text.Question);
        Assert.Equal(0x8500, text.Header.Flags);
    }

    private static NameTable Table(NameScope scope)
    {
        NameTable? table = NameTableBuilder.FromNds(Fixture, scope, out string? problem);
        Assert.Null(problem);
        return table!;
    }

    internal static DnsSnapshot Snapshot(string conf, bool compat110)
    {
        var scope = new NameScope("payments", "payments.svc.cluster.local", compat110);
        return Snapshot(Table(scope), scope, conf);
    }

    private static DnsSnapshot Snapshot(NameTable table, NameScope scope, string conf)
    {
        var state = new DnsState(scope);
        state.UseNames(table);
        state.UseSearch(ResolvConf.Parse(conf).SearchNames);
        return state.Use().Snapshot;
    }

    private static string Ask(string conf, ushort type, string name, bool compat110) => Ask(Snapshot(conf, compat110), type, name, compat110);

    private static string Ask(NameTable table, string conf, ushort type, string name, bool compat110) =>
        Ask(Snapshot(table, new NameScope("payments", "cluster.local", compat110), conf), type, name, compat110);

    private static string Ask(DnsSnapshot snapshot, ushort type, string name, bool compat110)
    {
        byte[] query = DnsMessages.Query(name, type), reply = new byte[512];
        AnswerResult result = new Answerer(compat110).Answer(query, snapshot, tcp: false, 0, reply, out _);
        if (result.Action == AnswerAction.Forward) { return Fwd; }
        if (result.Action != AnswerAction.Reply) { return result.Action.ToString(); }
        DnsText text = DnsMessages.Read(reply.AsSpan(0, result.Length));
        Assert.Equal($"{name} {DnsType.ToText(type)}", text.Question); // in the client's letter case
        Assert.Equal(0x8500, text.Header.Flags);                       // QR AA RD, no RA, NOERROR
        return text.Answers.Count == 0 ? NoData : string.Join('|', text.Answers);
    }
}
