using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using VmSidecar.Lifecycle;

namespace VmSidecar.Dns;

/// <summary>Takes istiod's tables: builds, swaps in, keeps the last on disk. Owned by <see cref="DnsServer"/>; <see cref="Accept"/> has one caller, the relay.</summary>
internal sealed class NameTableSink(DnsState state, DnsMetrics metrics, LastTable last, TimeProvider time, ILogger log) : INameTableSink
{
    // one table waits at most: only the newest matters, and the writer of the channel never blocks
    private readonly Channel<byte[]> _toSave = Channel.CreateBounded<byte[]>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true });
    private readonly Published<NameTableReceipt> _received = new();
    private byte[] _lastBytes = [];

    /// <summary>Called after each swap, true for the table from disk: what depends on the names looks again.</summary>
    public Action<bool> Changed { get; init; } = _ => { };

    /// <summary>The newest table taken, from istiod or from disk.</summary>
    public Published<NameTableReceipt> Received => _received;

    public string? Accept(ReadOnlySpan<byte> nameTable)
    {
        bool isNew = !nameTable.SequenceEqual(_lastBytes) || _received.Current is not { FromDisk: false };
        if (!isNew) { return null; } // the same again, as after a reconnect
        byte[] bytes = nameTable.ToArray();
        string? problem = Use(bytes, time.GetUtcNow(), fromDisk: false);
        if (problem is null) { _toSave.Writer.TryWrite(bytes); }
        return problem;
    }

    /// <summary>Starts from the table of the last run; istiod's first one replaces it.</summary>
    public void LoadLast()
    {
        if (last.Load() is not { } found) { return; }
        if (Use(found.Table, found.Taken, fromDisk: true) is null) { DnsLog.LoadedLast(log, _received.Current!.Hosts, time.GetUtcNow() - found.Taken); }
        else { DnsLog.DamagedTable(log, last.Path); }
    }

    /// <summary>Writes tables to disk until the token fires; a table already waiting is still written.</summary>
    public async Task SaveLoopAsync(CancellationToken stop)
    {
        try
        {
            while (await _toSave.Reader.WaitToReadAsync(stop))
            {
                if (_toSave.Reader.TryRead(out byte[]? table)) { await last.SaveAsync(table, CancellationToken.None); }
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            if (_toSave.Reader.TryRead(out byte[]? table)) { await last.SaveAsync(table, CancellationToken.None); }
        }
    }

    private string? Use(byte[] bytes, DateTimeOffset taken, bool fromDisk)
    {
        NameTable? table = NameTableBuilder.FromNds(bytes, state.Scope, out string? problem);
        if (table is null) { return problem; }
        VipMoves.Report(state.Current.Names, table, log);
        state.UseNames(table);
        Changed(fromDisk);
        _lastBytes = bytes;
        metrics.Hosts.Value = table.Hosts.Count;
        metrics.TableTime.Value = fromDisk ? metrics.TableTime.Value : taken.ToUnixTimeSeconds();
        _received.Set(new(bytes, table.Hosts.Count, taken, fromDisk));
        DnsLog.Updated(log, table.Hosts.Count);
        return null;
    }
}

/// <summary>One table taken: its bytes (for <c>/debug/ndsz</c>), and where from.</summary>
internal sealed record NameTableReceipt(byte[] Table, int Hosts, DateTimeOffset Taken, bool FromDisk);
