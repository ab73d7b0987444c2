using VmSidecar.Dns;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

public sealed class NameTablePropertyTests
{
    private static readonly string[] Services = ["ledger", "catalog", "kafka", "web"], Namespaces = ["payments", "shop", "data"], Domains = ["svc.cluster.local", "svc.cluster.west"];
    private static readonly string[] Searches = ["corp.example", "payments.svc.cluster.local", "svc.cluster.local", "cluster.local", "shop"];

    [Fact]
    public void A_hundred_thousand_random_questions_are_answered_as_the_plain_model_does()
    {
        int start = Environment.TickCount, asked = 0, answered = 0;
        for (int seed = start; asked < 100_000; seed++)
        {
            var random = new Random(seed);
            var hosts = Hosts(random);
            string[] search = [.. Searches.Where(_ => random.Next(3) == 0)];
            var model = new NameTableModel(hosts, "payments", "payments.svc.cluster.local", search);
            var state = new DnsState(new NameScope("payments", "payments.svc.cluster.local", compat110: false));
            state.UseNames(NameTableBuilder.FromNds(DnsMessages.Nds([.. hosts]), state.Scope, out _)!);
            state.UseSearch(ResolvConf.Parse("search " + string.Join(' ', search)).SearchNames);
            for (int i = 0; i < 500; i++, asked++)
            {
                string question = Question(random, hosts, search);
                bool v6 = random.Next(3) == 0;
                string expected = model.Answer(question, v6), got = Ask(state.Use().Snapshot, question, v6);
                Assert.True(expected == got, $"seed {seed}, search '{string.Join(' ', search)}': {question} {(v6 ? "AAAA" : "A")}\nmodel: {expected}\ntable: {got}");
                answered += expected == "FWD" ? 0 : 1;
            }
        }
        Assert.InRange(answered, 20_000, 95_000); // the questions are neither all known nor all unknown
    }

    [Fact]
    public void The_order_of_hosts_in_the_message_does_not_matter()
    {
        for (int seed = 1; seed <= 50; seed++)
        {
            var random = new Random(seed);
            // collisions on purpose: an external host named like a short name, a service named like a pod, letter case
            var hosts = Hosts(random);
            hosts.AddRange([("ledger", ["192.0.2.1"], "External", "", ""), ("Ledger", ["192.0.2.2"], "External", "", ""),
                ("a.b.svc.cluster.local", ["192.0.2.3"], "Kubernetes", "a", "b"), ("a.b.payments.svc.cluster.local", ["192.0.2.4"], "Kubernetes", "a.b", "payments")]);
            var scope = new NameScope("payments", "payments.svc.cluster.local", compat110: false);
            string[]? first = null;
            for (int i = 0; i < 5; i++)
            {
                var state = new DnsState(scope);
                state.UseNames(NameTableBuilder.FromNds(DnsMessages.Nds([.. hosts.OrderBy(_ => random.Next())]), scope, out _)!);
                string[] answers = [.. new[] { "ledger.", "a.b.", "a.b.svc.", "a.b.payments.", "1.2.0.192.in-addr.arpa." }.Select(q => Ask(state.Use().Snapshot, q, v6: false))];
                first ??= answers;
                Assert.Equal(first, answers);
            }
            Assert.Equal("a.b. 30 A 192.0.2.3", first![1]); // a service before a pod
        }
    }

    [Fact]
    public void A_hostile_table_is_refused_or_read_but_never_throws()
    {
        var scope = new NameScope("payments", "payments.svc.cluster.local", compat110: false);
        byte[] good = AnswerCasesTests.Fixture;
        for (int seed = 0; seed < 5_000; seed++)
        {
            var random = new Random(seed);
            byte[] bytes = [.. good];
            for (int i = random.Next(1, 10); i > 0; i--) { bytes[random.Next(bytes.Length)] = (byte)random.Next(256); }
            NameTable? table = NameTableBuilder.FromNds(bytes.AsSpan(0, random.Next(bytes.Length)), scope, out string? problem);
            Assert.Equal(table is null, problem is not null);
        }
    }

    [Fact]
    public void No_query_makes_the_answerer_throw_or_answer_past_its_limit()
    {
        DnsSnapshot snapshot = AnswerCasesTests.Snapshot("search corp.example", compat110: false);
        var answerer = new Answerer(compat110: false);
        byte[] reply = new byte[65535];
        for (int seed = 0; seed < 50_000; seed++)
        {
            var random = new Random(seed);
            byte[] query = DnsMessages.Query(Question(random, Hosts(random), ["corp.example"]), (ushort)random.Next(70), random.Next(2) == 0 ? -1 : random.Next(65536));
            for (int i = random.Next(4); i > 0; i--) { query[random.Next(query.Length)] = (byte)random.Next(256); }
            if (random.Next(5) == 0) { query = query[..random.Next(query.Length)]; }
            AnswerResult result = answerer.Answer(query, snapshot, tcp: false, (uint)seed, reply, out DnsQuery parsed);
            Assert.InRange(result.Length, 0, Math.Max(512, (int)parsed.Edns.Size));
            if (result.Action == AnswerAction.Reply) { DnsMessages.Read(reply.AsSpan(0, result.Length)); }
        }
    }

    private static List<(string Host, string[] Ips, string Registry, string Short, string Namespace)> Hosts(Random random)
    {
        List<(string, string[], string, string, string)> hosts = [];
        HashSet<string> used = [];
        int next = 1;
        string[] Ips() => [.. Enumerable.Range(0, random.Next(1, 4)).Select(_ => random.Next(4) == 0 ? $"2001:db8::{next++:x}" : $"10.0.{next / 250}.{next++ % 250}")];
        foreach (string s in Services)
        {
            foreach (string n in Namespaces.Where(_ => random.Next(2) == 0))
            {
                string d = Domains[random.Next(4) == 0 ? 1 : 0];
                hosts.Add(($"{s}.{n}.{d}", Ips(), "Kubernetes", s, n));
                if (random.Next(3) == 0) { hosts.Add(($"{s}-0.{s}.{n}.{d}", Ips(), "Kubernetes", $"{s}-0.{s}", n)); }
            }
        }
        foreach (string e in new[] { "api.partner.example", "*.cdn.example", "*.img.cdn.example", "x.corp.example", "*.w.corp.example" }.Where(_ => random.Next(2) == 0)) { hosts.Add((e, Ips(), "External", "", "")); }
        return hosts;
    }

    private static string Question(Random random, List<(string Host, string[] Ips, string Registry, string Short, string Namespace)> hosts, string[] search)
    {
        string name;
        if (hosts.Count > 0 && random.Next(4) > 0)
        {
            var h = hosts[random.Next(hosts.Count)];
            name = random.Next(5) switch { 0 when h.Short.Length > 0 => h.Short, 1 when h.Short.Length > 0 => $"{h.Short}.{h.Namespace}", 2 when h.Short.Length > 0 => $"{h.Short}.{h.Namespace}.svc", _ => h.Host };
            if (name.StartsWith('*') && random.Next(4) > 0) { name = string.Join('.', Enumerable.Range(0, random.Next(1, 3)).Select(i => $"q{i}")) + name[1..]; }
        }
        else
        {
            string[] words = [.. Services, .. Namespaces, "svc", "cluster", "local", "example", "cdn", "img"];
            name = string.Join('.', Enumerable.Range(0, random.Next(1, 5)).Select(_ => words[random.Next(words.Length)]));
        }
        for (int i = random.Next(3); i > 0 && search.Length > 0; i--) { name += "." + search[random.Next(search.Length)]; }
        return string.Concat(name.Select(c => random.Next(6) == 0 ? char.ToUpperInvariant(c) : c)) + ".";
    }

    private static string Ask(DnsSnapshot snapshot, string name, bool v6)
    {
        byte[] query = DnsMessages.Query(name, v6 ? DnsType.AAAA : DnsType.A), reply = new byte[4096];
        AnswerResult result = new Answerer(compat110: false).Answer(query, snapshot, tcp: true, 0, reply, out _);
        if (result.Action == AnswerAction.Forward) { return "FWD"; }
        DnsText text = DnsMessages.Read(reply.AsSpan(0, result.Length));
        return text.Answers.Count == 0 ? "NODATA" : string.Join('|', text.Answers);
    }
}
