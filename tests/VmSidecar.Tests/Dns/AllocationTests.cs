using VmSidecar.Dns;
using VmSidecar.Metrics;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>The path of a query that the agent answers itself allocates nothing, whatever it asks.</summary>
public sealed class AllocationTests
{
    [Theory]
    [InlineData("ledger.payments.svc.cluster.local.", DnsType.A, -1)]
    [InlineData("ledger.", DnsType.A, 1232)]
    [InlineData("ledger.corp.example.", DnsType.A, -1)]
    [InlineData("LEDGER.corp.example.", DnsType.AAAA, -1)]
    [InlineData("a.b.cdn.example.", DnsType.A, -1)]
    [InlineData("kafka.data.", DnsType.A, -1)]
    [InlineData("11.10.96.10.in-addr.arpa.", DnsType.PTR, -1)]
    [InlineData("2.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa.", DnsType.PTR, -1)]
    [InlineData("_http._tcp.ledger.", DnsType.SRV, -1)]
    [InlineData("_grpc._tcp.ledger.payments.svc.cluster.local.", DnsType.SRV, 1232)]
    [InlineData("ledger.", DnsType.HTTPS, -1)]
    [InlineData("cached.example.net.", DnsType.A, 1232)]
    [InlineData("", DnsType.A, -1)]
    public async Task A_thousand_queries_allocate_nothing(string name, ushort type, int edns)
    {
        byte[] query = name.Length == 0 ? [1, 2, 3] : DnsMessages.Query(name, type, edns), reply = new byte[65535];
        var state = new DnsState(new NameScope("payments", "payments.svc.cluster.local", compat110: false));
        state.UseNames(NameTableBuilder.FromNds(AnswerCasesTests.Fixture, state.Scope, out _)!);
        state.Ports.Add("ledger.payments.svc.cluster.local", 80);
        state.UseSearch(ResolvConf.Parse("search corp.example").SearchNames);
        var metrics = new DnsMetrics(new MetricRegistry());
        await using DnsLab lab = await DnsLab.StartAsync();
        Forwarder forwarder = lab.Server.Upstreams;
        var handler = new QueryHandler(state, new Answerer(compat110: false), forwarder, new LoopWatch(forwarder, metrics, TimeProvider.System, lab.Log), metrics, lab.Log);
        byte[] cached = DnsMessages.Query("cached.example.net.", type, edns);
        DnsQuery.Read(cached, out DnsQuery parsed);
        forwarder.Cache.Store(QuestionKey.For(cached, parsed, tcp: false)!, DnsMessages.Reply(cached, 0, 60, "192.0.2.1"), fromLocal: false, forwarder.Cache.Generation);

        Assert.Equal(0, Measure(handler, query, reply));
    }

    /// <summary>The collector, which stops queries while it works, has nothing to do at a swap.</summary>
    [Fact]
    public void Building_a_table_leaves_next_to_nothing_on_the_managed_heap()
    {
        byte[] nds = DnsMessages.Nds([.. Enumerable.Range(0, 5000).Select(i => ($"s{i}.n{i % 100}.svc.cluster.local", (string[])[$"10.96.{i >> 8}.{i & 255}"], "Kubernetes", $"s{i}", $"n{i % 100}"))]);
        var scope = new NameScope("payments", "payments.svc.cluster.local", compat110: false);
        NameTableBuilder.FromNds(nds, scope, out _); // once, for what is allocated once
        long before = GC.GetAllocatedBytesForCurrentThread();
        NameTable table = NameTableBuilder.FromNds(nds, scope, out _)!;
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 1, nds.Length / 4);
        Assert.Equal(5000, table.Hosts.Count);
    }

    private static long Measure(QueryHandler handler, byte[] query, byte[] reply)
    {
        for (int i = 0; i < 200; i++) { Assert.True(handler.TryAnswer(query, tcp: false, reply, out _, out _)); }
        long least = long.MaxValue; // of a few rounds: once in a while the runtime itself takes a little on the thread it interrupts; an allocation of ours is in every round
        for (int round = 0; round < 3; round++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            bool all = true;
            for (int i = 0; i < 1000; i++) { all &= handler.TryAnswer(query, tcp: false, reply, out _, out _); }
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
            Assert.True(all);
        }
        return least;
    }
}
