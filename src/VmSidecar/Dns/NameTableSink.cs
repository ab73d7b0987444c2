using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using VmSidecar.Lifecycle;

namespace VmSidecar.Dns;

/// <summary>
/// Takes istiod's tables: builds, swaps in, keeps the last on disk. A table of any size passes without large objects on the managed heap, for which the collector
/// would stop the queries. Owned by <see cref="DnsServer"/>; <see cref="Accept"/> has one caller, the relay, one table at a time: the gate of its tap orders both streams, so
/// nobody takes the current receipt's bytes away while a new table is compared with them, and they need no <c>TryEnter</c>.
/// </summary>
internal sealed class NameTableSink(DnsState state, DnsMetrics metrics, LastTable last, TimeProvider time, ILogger log) : INameTableSink
{
    // one table waits at most: only the newest matters, and the writer of the channel never blocks
    private readonly Channel<SentTable> _toSave = Channel.CreateBounded<SentTable>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true }, dropped => dropped.Leave());
    private readonly Published<NameTableReceipt> _received = new();

    /// <summary>Called after each swap, true for the table from disk: what depends on the names looks again.</summary>
    public Action<bool> Changed { get; init; } = _ => { };

    /// <summary>The newest table taken, from istiod or from disk.</summary>
    public Published<NameTableReceipt> Received => _received;

    public string? Accept(ReadOnlySpan<byte> nameTable)
    {
        if (_received.Current is { FromDisk: false } current && Breather.AreEqual(nameTable, current.Table.Bytes)) { return null; } // the same again, as after a reconnect
        try
        {
            SentTable sent = SentTable.Copy(nameTable);
            string? problem = Use(sent, time.GetUtcNow(), fromDisk: false);
            if (problem is null && sent.TryEnter() && !_toSave.Writer.TryWrite(sent)) { sent.Leave(); }
            return problem;
        }
        catch (InsufficientMemoryException e)
        {
            return $"no memory for a table of {nameTable.Length} bytes: {e.Message}";
        }
    }

    /// <summary>Starts from the table of the last run; istiod's first one replaces it.</summary>
    public void LoadLast()
    {
        if (last.Load() is not { } found) { return; }
        try
        {
            if (Use(found.Table, found.Taken, fromDisk: true) is null) { DnsLog.LoadedLast(log, _received.Current!.Hosts, time.GetUtcNow() - found.Taken); }
            else { DnsLog.DamagedTable(log, last.Path); }
        }
        catch (InsufficientMemoryException e)
        {
            DnsLog.UnreadableTable(log, last.Path, e.Message);
        }
    }

    /// <summary>Writes tables to disk until the token fires; a table already waiting is still written.</summary>
    public async Task SaveLoopAsync(CancellationToken stop)
    {
        try
        {
            while (await _toSave.Reader.WaitToReadAsync(stop)) { await SaveOneAsync(); }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            await SaveOneAsync();
        }
    }

    /// <summary>The newest table for <c>/debug/ndsz</c>; null before the first.</summary>
    public string? Json()
    {
        while (_received.Current is { } receipt) // again only when a newer table came in between
        {
            if (!receipt.Table.TryEnter()) { continue; }
            try { return NameTableJson.Write(receipt.Table.Bytes, state.Scope); }
            finally { receipt.Table.Leave(); }
        }
        return null;
    }

    private async Task SaveOneAsync()
    {
        if (!_toSave.Reader.TryRead(out SentTable? table)) { return; }
        try { await last.SaveAsync(table.Memory, CancellationToken.None); }
        finally { table.Leave(); }
    }

    /// <summary>Takes the sent table over: it is the receipt's, or freed.</summary>
    private string? Use(SentTable sent, DateTimeOffset taken, bool fromDisk)
    {
        NameTable? table = null;
        string? problem;
        try { table = NameTableBuilder.FromNds(sent.Bytes, state.Scope, out problem); }
        finally { if (table is null) { sent.Leave(); } }
        if (table is null) { return problem; }
        int hosts = table.Hosts.Count; // later it may be gone already
        using (SnapshotUse before = state.Use()) { VipMoves.Report(before.Snapshot.Names, table, log); }
        state.UseNames(table);
        metrics.Hosts.Value = hosts;
        metrics.TableTime.Value = fromDisk ? metrics.TableTime.Value : taken.ToUnixTimeSeconds();
        NameTableReceipt? old = _received.Current;
        _received.Set(new(sent, hosts, taken, fromDisk));
        old?.Table.Leave();
        try { Changed(fromDisk); } // last: the table answers already, whatever becomes of what depends on it
        catch (InsufficientMemoryException e) { DnsLog.NoMemoryForVips(log, e.Message); }
        DnsLog.Updated(log, hosts);
        return null;
    }
}

/// <summary>One table taken: its bytes, to be entered before use, and where from.</summary>
internal sealed record NameTableReceipt(SentTable Table, int Hosts, DateTimeOffset Taken, bool FromDisk);
