using System.Security.Cryptography;
using Microsoft.Extensions.Logging.Abstractions;
using VmSidecar.Dns;
using VmSidecar.Fuzz.Engine;
using VmSidecar.Wire.Dns;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Fuzz.Targets;

/// <summary>What comes from applications, upstream servers, istiod's name table and the state folder.</summary>
internal static class DnsTargets
{
    private static readonly byte[] s_table = Table();
    private static readonly byte[] s_query = Query("ledger.payments.svc.cluster.local", DnsType.A), s_edns = [.. Query("a.cdn.example", DnsType.AAAA, additionals: 1), 0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    private static readonly byte[] s_reply = [.. Query("www.example.net", DnsType.A)[..2], 0x81, 0x80, 0, 1, 0, 2, 0, 1, 0, 0, .. Query("www.example.net", DnsType.A)[12..],
        0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4, 1, (byte)'x', 0xc0, 16, 0xc0, 45, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1,
        0, 0, 6, 0, 1, 0, 0, 0, 60, 0, 22, 0, 0, 0, 0, 0, 1, 0, 0, 14, 16, 0, 0, 2, 88, 0, 1, 81, 128, 0, 0, 0, 5];

    public static IEnumerable<FuzzTarget> All { get; } =
    [
        new("dns-query", Ask, () => [s_query, s_edns, Query("11.10.96.10.in-addr.arpa", DnsType.PTR), Query("x.corp.example", 65)], [4, (byte)'s', (byte)'v', (byte)'c', 0], [0xc0, 12], [0, 0, 41]),
        new("dns-reply", Reply, () => [s_reply], [0xc0, 12], [0, 0, 41], [0, 6, 0, 1], [0, 33, 0, 1], [0, 16, 0, 1]),
        new("nds", Nds, () => [s_table], FuzzTargets.Words("Kubernetes", "External", ".svc.cluster.local", "payments", "*.", "::ffff:1.2.3.4", "fd00::1", "10.0.0.1")),
        new("last-table", Kept, () => [[.. "VMSNDS1\n"u8, 0, 0, 0, 0, 0, 0, 0, 1, .. SHA256.HashData(s_table), .. s_table]], FuzzTargets.Words("VMSNDS1\n")),
        new("resolv-conf", Resolv, FuzzTargets.Seeds("search a.b c\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\noptions ndots:5 timeout:1\ndomain x."), FuzzTargets.Words("nameserver ", "search ", "domain ", "options ", "ndots:", "%lo", "::1")),
        new("vip-file", Vips, FuzzTargets.Seeds("vmsidecar-vips 1\na.example 17\nb.example 18 1700000000\n"), FuzzTargets.Words("vmsidecar-vips 1\n", " 1\n", " 65535 1\n")),
        new("cds-hosts", Clusters, () => [Cluster("outbound|80||a.example", 1), Cluster("outbound|443|v1|B.example.", 3)], FuzzTargets.Words("outbound|", "||", "inbound|", "type.googleapis.com/envoy.config.cluster.v3.Cluster")),
    ];

    private static void Ask(byte[] input)
    {
        foreach (bool old in (ReadOnlySpan<bool>)[false, true])
        {
            var scope = new NameScope("payments", "payments.svc.cluster.local", old);
            var state = new DnsState(scope);
            state.UseNames(NameTableBuilder.FromNds(s_table, scope, out _)!);
            state.UseSearch(ResolvConf.Parse("search corp.example payments.svc.cluster.local").SearchNames);
            foreach (bool tcp in (ReadOnlySpan<bool>)[false, true])
            {
                byte[] reply = new byte[65535];
                var answerer = new Answerer(old);
                AnswerResult result = answerer.Answer(input, state.Use().Snapshot, tcp, 7, reply, out DnsQuery query);
                FuzzTarget.Require(result.Length <= (tcp ? 65535 : Math.Max(512, (int)query.Edns.Size)), "an answer is no longer than the client takes");
                FuzzTarget.Require(result.Action != AnswerAction.Reply || DnsReply.IsWhole(reply.AsSpan(0, result.Length), out _), "every answer can be read");
                FuzzTarget.Require(result.Action != AnswerAction.Reply || reply[0] == input[0] && reply[1] == input[1], "an answer has the query's id");
                if (result.Action is AnswerAction.Drop or AnswerAction.Reply) { continue; }
                byte[]? key = QuestionKey.For(input, query, tcp);
                byte[] bare = QuestionKey.WithoutHopOptions(input[..query.Length], query);
                FuzzTarget.Require(DnsQuery.Read(bare, out DnsQuery again) == QueryVerdict.Accepted, "what is forwarded is a query");
                FuzzTarget.Require(key is null || key.AsSpan().SequenceEqual(QuestionKey.For(bare, again, tcp)), "options of one hop are no part of the question");
                int empty = answerer.AnswerEmpty(input, query, tcp, reply);
                FuzzTarget.Require(DnsReply.IsWhole(reply.AsSpan(0, empty), out int end) && end == empty, "an empty answer can be read");
            }
        }
    }

    private static void Reply(byte[] input)
    {
        bool whole = DnsReply.IsWhole(input, out int end);
        FuzzTarget.Require(end <= input.Length, "nothing is read behind the end");
        uint lifetime = CachePolicy.Lifetime(input, fromLocal: false);
        FuzzTarget.Require(lifetime <= 3600, "a lifetime has a bound");
        if (CachePolicy.TryFindTtls(input, out ushort[] ttls)) { FuzzTarget.Require(ttls.All(t => t + 4 <= input.Length), "TTLs lie in the message"); }
        ReplyText.Answers(input);
        DnsQuery.Read(s_query, out DnsQuery query);
        DnsReply.Answers(input, s_query, query.Question);
        byte[] copy = [.. input];
        if (input.Length >= DnsHeader.Size) { DnsReply.Readdress(copy, s_query, query.Question); }
        int limit = 512 + (input.Length > 0 ? input[0] : 0), fitted = DnsReply.Fit(copy, limit);
        FuzzTarget.Require(fitted <= Math.Max(limit, 0) || fitted <= input.Length, "fitting never makes a message longer");
        FuzzTarget.Require(!whole || input.Length <= limit || DnsReply.IsWhole(copy.AsSpan(0, fitted), out _), "what was whole stays whole");
        if (lifetime == 0) { return; }
        var cache = new ReplyCache(TimeProvider.System);
        byte[] key = QuestionKey.For(s_query, query, tcp: false)!, reply = new byte[65535];
        cache.Store(key, input, fromLocal: false, cache.Generation);
        cache.TryAnswer(s_query, query, reply, out int length);
        FuzzTarget.Require(length <= input.Length, "the cache answers with what it was given");
    }

    private static void Nds(byte[] input)
    {
        var scope = new NameScope("payments", "payments.svc.cluster.local", compat110: input.Length % 2 == 1);
        NameTable? table = NameTableBuilder.FromNds(input, scope, out string? problem);
        FuzzTarget.Require(table is null == problem is not null, "a refused table has a reason");
        if (table is null) { return; }
        byte[][] search = ResolvConf.Parse("search corp.example payments.svc.cluster.local").SearchNames;
        Span<byte> scratch = stackalloc byte[NameTable.ScratchSize];
        foreach (HostEntry entry in table.Hosts)
        {
            FuzzTarget.Require(table.Find(entry.Name, search, scratch, out NameMatch match) && match.Host.Name == entry.Host.Name, "a host is found by its name"); // the very same bytes
            FuzzTarget.Require(entry.Host.V4.Length + entry.Host.V6.Length > 0, "a host has an address");
        }
        foreach (string name in (ReadOnlySpan<string>)["ledger", "ledger.payments", "a.b.cdn.example.corp.example", "corp.example"]) { table.Find(WireName.Encode(name)!, search, scratch, out _); }
        table.Leave();
    }

    /// <summary>As the file is, and with the sum that fits what is in it.</summary>
    private static void Kept(byte[] given)
    {
        byte[] input = [.. given];
        string folder = FuzzTargets.Folder();
        try
        {
            var last = new LastTable(folder, TimeProvider.System, NullLogger.Instance);
            foreach (bool mended in (ReadOnlySpan<bool>)[false, true])
            {
                if (mended && input.Length >= 48) { SHA256.HashData(input.AsSpan(48), input.AsSpan(16)); }
                File.WriteAllBytes(last.Path, input);
                if (last.Load() is not { } read) { continue; }
                FuzzTarget.Require(input.AsSpan().EndsWith(read.Table.Bytes), "the table is the end of the file");
                NameTableBuilder.FromNds(read.Table.Bytes, new NameScope("payments", "payments.svc.cluster.local", compat110: false), out _)?.Leave();
                read.Table.Leave();
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void Resolv(byte[] input)
    {
        ResolvConf parsed = ResolvConf.Parse(FuzzTargets.Text(input));
        FuzzTarget.Require(parsed.SearchNames.All(n => n.Length is > 1 and <= WireName.MaxLength), "search domains are names");
        FuzzTarget.Require(parsed.Equals(ResolvConf.Parse(FuzzTargets.Text(input))), "the same text is the same configuration");
    }

    private static void Vips(byte[] input)
    {
        VipAssignments? read = VipFile.Read(FuzzTargets.Text(input));
        if (read is null) { return; }
        string text = VipFile.Write(read);
        FuzzTarget.Require(VipFile.Read(text) is { } again && VipFile.Write(again) == text, "what is written reads back");
        FuzzTarget.Require(read.Hosts.Values.Concat(read.Resting.Values.Select(r => r.Slot)).Distinct().Count() == read.Hosts.Count + read.Resting.Count, "no two hosts share an address");
    }

    private static void Clusters(byte[] input)
    {
        var sink = new Hosts();
        var reader = new ClusterHosts(sink, new ServicePorts());
        reader.Observe(delta: false, input);
        FuzzTarget.Require(sink.Last.All(h => h.Contains('.') && !h.Contains('*')), "only names get virtual addresses");
        reader.Observe(delta: true, input);
        reader.ObserveRoutes(delta: false, input);
        reader.ObserveRoutes(delta: true, input);
    }

    private static byte[] Query(string name, ushort type, byte additionals = 0) => [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, additionals, .. WireName.Encode(name)!, (byte)(type >> 8), (byte)type, 0, 1];

    private static byte[] Cluster(string name, ulong type) =>
        new ProtoWriter().Message(2, new ProtoWriter().String(1, "type.googleapis.com/envoy.config.cluster.v3.Cluster").Message(2, new ProtoWriter().String(1, name).Varint(2, type))).ToArray();

    private static byte[] Table()
    {
        var table = new ProtoWriter();
        Add("ledger.payments.svc.cluster.local", "Kubernetes", "ledger", "payments", "10.96.10.11", "fd00::11");
        Add("kafka.data.svc.cluster.local", "Kubernetes", "kafka", "data", [.. Enumerable.Range(1, 40).Select(i => $"10.244.7.{i}")]);
        Add("*.cdn.example", "External", "", "", "240.240.1.1");
        Add("API.Partner.example", "External", "", "", "240.240.0.9");
        return table.ToArray();

        void Add(string host, string registry, string shortName, string ns, params string[] ips)
        {
            var info = new ProtoWriter();
            foreach (string ip in ips) { info.String(1, ip); }
            table.Message(1, new ProtoWriter().String(1, host).Message(2, info.String(2, registry).String(3, shortName).String(4, ns)));
        }
    }

    private sealed class Hosts : IServiceHostSink
    {
        public IReadOnlyCollection<string> Last { get; private set; } = [];

        public void Accept(IReadOnlyCollection<string> hosts) => Last = hosts;
    }
}
