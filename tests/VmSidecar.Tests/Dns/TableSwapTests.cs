using Microsoft.Extensions.Logging.Abstractions;
using VmSidecar.Dns;
using VmSidecar.Linux.Memory;
using VmSidecar.Linux.Processes;
using VmSidecar.Metrics;
using VmSidecar.TestKit;
using VmSidecar.Wire.Dns;
using Xunit;

namespace VmSidecar.Tests.Dns;

/// <summary>Tables so large that they lie outside the managed heap: taken without work for the collector, freed after their last reader.</summary>
public sealed class TableSwapTests
{
    private const int Hosts = 10_000; // each part of it is beyond TableMemory.Large

    private static readonly byte[][] Tables = [.. Enumerable.Range(0, 4).Select(Table)];
    private static readonly NameScope Scope = new("payments", "payments.svc.cluster.local", compat110: false);

    /// <summary>What the collector takes for large (85,000 bytes) makes it stop every thread, queries included, as soon as there is a little of it.</summary>
    [Fact]
    public async Task A_large_table_is_taken_and_loaded_without_large_objects()
    {
        string folder = Directory.CreateTempSubdirectory("vmsidecar-swap-").FullName;
        try
        {
            var last = new LastTable(folder, TimeProvider.System, NullLogger.Instance);
            NameTableSink sink = Sink(new DnsState(Scope), last);
            Assert.Null(sink.Accept(Tables[0])); // once, for what is allocated once
            byte[] next = Tables[1];
            long before = GC.GetAllocatedBytesForCurrentThread();
            Assert.Null(sink.Accept(next));
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 1, next.Length / 4);

            await last.SaveAsync(next, CancellationToken.None);
            last.Load()!.Value.Table.Leave();
            before = GC.GetAllocatedBytesForCurrentThread();
            SentTable loaded = last.Load()!.Value.Table;
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 1, next.Length / 4);
            Assert.True(loaded.Bytes.SequenceEqual(next));
            loaded.Leave();
        }
        finally { Directory.Delete(folder, recursive: true); }
    }

    [Fact]
    public async Task A_replaced_table_is_there_until_its_last_reader_leaves_and_not_longer()
    {
        var state = new DnsState(Scope);
        NameTable first = Build(0), second = Build(1);
        state.UseNames(first);
        ReadBesideASwap(state, first, second);
        await Test.UntilAsync(() => IsGone(first));
        Assert.False(IsGone(second));
        state.UseSearch([]); // a new snapshot with the same tables
        state.UseVips(NameTable.Empty(Scope), onlyWhereUnknown: true);
        Assert.False(IsGone(second));
        Assert.Equal("h1.example. 30 A 10.1.0.1", Ask(state, 1));
        state.UseNames(NameTable.Empty(Scope));
        Assert.True(IsGone(second)); // nobody read it: at once
    }

    [Fact]
    public async Task Readers_of_tables_that_are_swapped_all_the_time_get_whole_answers()
    {
        var state = new DnsState(Scope);
        state.UseNames(Build(0));
        using var end = new CancellationTokenSource();
        Task[] readers = [.. Enumerable.Range(1, 3).Select(r => Task.Factory.StartNew(() => Read(state, r, end.Token), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
        for (int i = 0; i < 40; i++)
        {
            state.UseNames(NameTableBuilder.FromNds(Tables[i % 4], Scope, out _)!);
            if (i % 10 == 0) { state.UseSearch(ResolvConf.Parse("search corp.example").SearchNames); }
        }
        await end.CancelAsync();
        await Task.WhenAll(readers).WaitAsync(Test.Deadline);
    }

    [Fact]
    public async Task The_debug_page_is_written_beside_swaps()
    {
        var state = new DnsState(Scope);
        NameTableSink sink = Sink(state, new LastTable("/nonexistent", TimeProvider.System, NullLogger.Instance));
        Assert.Null(sink.Json());
        Assert.Null(sink.Accept(Tables[0]));
        using var end = new CancellationTokenSource();
        Task reading = Task.Run(() => { do { Assert.EndsWith("}}", sink.Json(), StringComparison.Ordinal); } while (!end.IsCancellationRequested); });
        for (int i = 1; i < 8; i++) { Assert.Null(sink.Accept(Tables[i % 2])); }
        await end.CancelAsync();
        await reading.WaitAsync(Test.Deadline);
    }

    [Fact]
    public Task A_table_is_taken_whole_though_what_depends_on_it_finds_no_memory() => OwnProcess.RunAsync($"{typeof(TableSwapTests).FullName}.{nameof(TakenWhole)}");

    /// <summary>The body, for a process of its own: the memory in use is everybody's.</summary>
    [Fact(Explicit = true)]
    public void TakenWhole()
    {
        var state = new DnsState(Scope);
        bool isFull = false;
        NameTableSink sink = Sink(state, new LastTable("/nonexistent", TimeProvider.System, NullLogger.Instance), _ => { if (isFull) { throw new InsufficientMemoryException("no room"); } });
        Assert.Null(sink.Accept(Tables[0]));
        Assert.Null(sink.Accept(Tables[1]));
        long before = MappedMemory.InUse;
        isFull = true;
        Assert.Null(sink.Accept(Tables[2])); // it answers from now on, so istiod is told that it was taken
        Assert.Equal("h7.example. 30 A 10.2.0.7", Ask(state, 7));
        Assert.Contains("\"10.2.0.7\"", sink.Json(), StringComparison.Ordinal);
        isFull = false;
        Assert.Null(sink.Accept(Tables[3]));
        Assert.Equal(before, MappedMemory.InUse); // one table and its message, as before
    }

    [Fact]
    public Task A_builder_that_gets_half_of_its_memory_gives_it_back() => OwnProcess.RunAsync($"{typeof(TableSwapTests).FullName}.{nameof(GivenBack)}");

    /// <summary>The body, for a process whose address space is limited.</summary>
    [Fact(Explicit = true)]
    public async Task GivenBack()
    {
        const long Room = 700 << 20;
        string size = File.ReadLines("/proc/self/status").First(line => line.StartsWith("VmSize:", StringComparison.Ordinal)).Split((char[])[' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[1];
        long limit = long.Parse(size, System.Globalization.CultureInfo.InvariantCulture) * 1024 + Room;
        CommandResult limited = await new CommandRunner(Test.Deadline, TimeProvider.System).RunAsync("prlimit", ["--pid", $"{Environment.ProcessId}", $"--as={limit}"], "", CancellationToken.None);
        Assert.True(limited.Succeeded, limited.Error);
        long before = MappedMemory.InUse;
        for (int i = 0; i < 3; i++) { Assert.Throws<InsufficientMemoryException>(() => new NameTableBuilder(Scope, hosts: 80_000_000, bytes: 64 << 20)); } // the index takes a gigabyte
        Assert.Equal(before, MappedMemory.InUse);
    }

    private static NameTableSink Sink(DnsState state, LastTable last, Action<bool>? changed = null) =>
        new(state, new DnsMetrics(new MetricRegistry()), last, TimeProvider.System, NullLogger.Instance) { Changed = changed ?? (_ => { }) };

    private static NameTable Build(int number) => NameTableBuilder.FromNds(Tables[number], Scope, out _)!;

    /// <summary>Every host of table N has an address in 10.N.0.0/16.</summary>
    private static byte[] Table(int number) => DnsMessages.Nds([.. Enumerable.Range(0, Hosts).Select(i => ($"h{i}.example", (string[])[$"10.{number}.{i >> 8}.{i & 255}"], "External", "", ""))]);

    private static void ReadBesideASwap(DnsState state, NameTable first, NameTable second)
    {
        using SnapshotUse use = state.Use();
        state.UseNames(second);
        Assert.False(IsGone(first));
        Assert.Equal("h7.example. 30 A 10.0.0.7", Answer(use.Snapshot, 7)); // the old one, as long as it is in use
        Assert.Equal("h7.example. 30 A 10.1.0.7", Ask(state, 7));
    }

    private static bool IsGone(NameTable table)
    {
        if (!table.TryEnter()) { return true; }
        table.Leave();
        return false;
    }

    private static void Read(DnsState state, int seed, CancellationToken end)
    {
        var random = new Random(seed);
        while (!end.IsCancellationRequested)
        {
            int host = random.Next(Hosts);
            string answer = Ask(state, host);
            Assert.Contains(answer, Enumerable.Range(0, 4).Select(table => $"h{host}.example. 30 A 10.{table}.{host >> 8}.{host & 255}"));
        }
    }

    private static string Ask(DnsState state, int host)
    {
        using SnapshotUse use = state.Use();
        return Answer(use.Snapshot, host);
    }

    private static string Answer(DnsSnapshot snapshot, int host)
    {
        byte[] query = DnsMessages.Query($"h{host}.example.", DnsType.A), reply = new byte[512];
        AnswerResult result = new Answerer(compat110: false).Answer(query, snapshot, tcp: false, 0, reply, out _);
        return Assert.Single(DnsMessages.Read(reply.AsSpan(0, result.Length)).Answers);
    }
}
