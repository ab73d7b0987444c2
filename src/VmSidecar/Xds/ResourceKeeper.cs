using System.Globalization;
using System.Threading.Channels;

using Microsoft.Extensions.Logging;

using VmSidecar.Grpc;
using VmSidecar.Linux.Files;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>
/// Keeps on disk what Envoy last accepted, per type, for a start while istiod cannot be reached. A response is held until Envoy's
/// ACK (its buffer changes hands, a large one has moved to a file without a name while it passed) and then, a second later, written by one loop, so the relay never waits for a disk. Files:
/// <c>StateDirectory/xds/LABEL.journal</c> and <c>seen</c>, the time istiod was last known to stand behind them; folder 0700, files 0600.
/// Everything may be deleted at any time. Owned by <see cref="XdsProxy"/>.
/// </summary>
internal sealed class ResourceKeeper(string stateDirectory, TimeProvider time, ILogger log, long mostHeld = ResourceKeeper.MostHeld) : IDisposable
{
    private const long MostHeld = 64 * 1024 * 1024; // bytes waiting for an ACK or the disk, in memory or spilled; past it nothing of the type is kept any more until it begins anew
    private const int MostEarly = 16; // answers that came before our own send returned; one is in flight, older ones are for responses too large to keep
    private const int LongestJournal = 16 * 1024 * 1024; // then it is compacted, and again at twice what remained
    private const UnixFileMode Private = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private static readonly TimeSpan Calm = TimeSpan.FromSeconds(1); // a burst of pushes is written once, and does not compete with the relay for the processor
    private static readonly TimeSpan SeenEvery = TimeSpan.FromMinutes(10);
    private static readonly string[] Kept = [XdsTypeUrl.Cluster, XdsTypeUrl.Endpoints, XdsTypeUrl.Listener, XdsTypeUrl.Routes, XdsTypeUrl.Extension];

    private readonly string _folder = Path.Combine(stateDirectory, "xds");
    private readonly Channel<Held> _accepted = Channel.CreateUnbounded<Held>(); // bounded by MostHeld; reader: the one loop
    private readonly Lock _gate = new(); // guards _waiting, _early and _held
    private readonly Dictionary<(string Type, string Nonce), Held> _waiting = [];
    private readonly Dictionary<(string Type, string Nonce), bool> _early = [];
    private long _held;
    private TaskCompletionSource _pressing = new(TaskCreationOptions.RunContinuationsAsynchronously); // too much is held to wait longer; written under the gate
    private readonly JournalContinuity _continuity = new(); // under the gate
    private readonly Dictionary<string, long> _compacted = new(StringComparer.Ordinal); // length after the last compaction, by file; the one loop's
    private readonly CancellationTokenSource _abandoned = new();
    private bool _complained;

    /// <summary>Where it is kept.</summary>
    public string Folder => _folder;

    /// <summary>Written by the relay: a joint stream is up, so what is kept is current.</summary>
    public bool IsLive { get; set; }

    /// <summary>True when a response of this type and length, bytes, would be kept now.</summary>
    public bool Wants(string typeUrl, int length) => Kept.Contains(typeUrl) && Interlocked.Read(ref _held) + length <= mostHeld;

    /// <summary>True for types that are kept at all.</summary>
    public static bool Keeps(string typeUrl) => Kept.Contains(typeUrl);

    /// <summary>A stream asks for a type for the first time. <paramref name="holdsNothing"/>: Envoy has no resource of it, so the answer takes the place of what is kept.</summary>
    public void Begins(string typeUrl, bool holdsNothing)
    {
        if (!Kept.Contains(typeUrl)) { return; }
        lock (_gate) { _continuity.Begins(typeUrl, holdsNothing); }
    }

    /// <summary>A response was refused on Envoy's behalf and never delivered.</summary>
    public void Withheld(XdsEnvelope response)
    {
        if (!Kept.Contains(response.TypeUrl)) { return; }
        lock (_gate) { _continuity.Withheld(response.Kind, response.TypeUrl); }
    }

    /// <summary>Where a large response is held that must be whole before it goes on, or that is kept; takes over what has arrived of it.</summary>
    public SpilledPieces Spill(PieceList begun) => new(Disk, begun);

    /// <summary>The disk under it.</summary>
    public SpillDisk Disk { get; init; } = new(Path.Combine(stateDirectory, "xds"));

    /// <summary>A response was delivered. Takes ownership of the message.</summary>
    public void Delivered(XdsEnvelope response, IPieces message)
    {
        lock (_gate)
        {
            if (response.Nonce.Length == 0 || !Wants(response.TypeUrl, message.Length))
            {
                Missed(response.TypeUrl);
                message.Dispose();
                return;
            }
            var held = new Held(response, message, _continuity.IsBase(response.Kind, response.TypeUrl));
            _held += message.Length;
            if (_early.Remove((response.TypeUrl, response.Nonce), out bool accepted))
            {
                Settle(held, accepted);
                return;
            }
            if (_waiting.Remove((response.TypeUrl, response.Nonce), out Held? same)) { Drop(same); }
            _waiting[(response.TypeUrl, response.Nonce)] = held;
        }
    }

    /// <summary>A response of this type was delivered and is not kept: increments on it would add up to a state that never was, so nothing is until a response stands for all.</summary>
    public void Missed(string typeUrl)
    {
        if (!Kept.Contains(typeUrl)) { return; }
        lock (_gate) { _continuity.Missed(typeUrl); }
    }

    /// <summary>Envoy has answered: an accepted response goes to disk, a refused one is forgotten.</summary>
    public void Answered(XdsEnvelope request)
    {
        if (request.Nonce.Length == 0 || !Kept.Contains(request.TypeUrl)) { return; }
        lock (_gate)
        {
            if (_waiting.Remove((request.TypeUrl, request.Nonce), out Held? held)) { Settle(held, !request.HasError); }
            else
            {
                if (_early.Count == MostEarly) { _early.Clear(); }
                _early[(request.TypeUrl, request.Nonce)] = !request.HasError; // Envoy can be quicker than the end of our send
            }
        }
    }

    /// <summary>The stream has ended: what was not acknowledged never will be.</summary>
    public void Forget()
    {
        lock (_gate)
        {
            _continuity.Forget(_waiting.Values.Where(h => h.IsBase).Select(h => h.Response.TypeUrl));
            foreach (Held held in _waiting.Values) { Drop(held); }
            _waiting.Clear();
            _early.Clear();
        }
    }

    /// <summary>Writes until cancelled, then what was accepted before.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        try
        {
            Task<bool> more = _accepted.Reader.WaitToReadAsync(stop).AsTask();
            while (true) // ends by cancellation only
            {
                await KeeperWaits.EitherAsync(more, SeenEvery, time, stop);
                if (more.IsCompleted)
                {
                    await KeeperWaits.EitherAsync(_pressing.Task, Calm, time, stop);
                    await WriteAllAsync();
                    more = _accepted.Reader.WaitToReadAsync(stop).AsTask();
                }
                else if (IsLive) { await TryAsync(SeenAsync); }
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { }
        await Task.Yield(); // whoever stops is not to be the one whom the disk holds
        try
        {
            await WriteAllAsync();
            if (IsLive) { await TryAsync(SeenAsync); }
        }
        catch (OperationCanceledException) when (_abandoned.IsCancellationRequested) { }
    }

    /// <summary>Nothing more is written: a disk that answers late must not touch what somebody else has written since.</summary>
    public void Abandon() => _abandoned.Cancel();

    /// <summary>What is kept, with the time it was last known good; null when there is nothing, it is too old, or it is damaged.</summary>
    public OfflineResources? Load(TimeSpan maxAge)
    {
        try
        {
            if (!DateTimeOffset.TryParse(File.ReadAllText(Path.Combine(_folder, "seen")), CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out DateTimeOffset seen)) { return null; }
            TimeSpan age = time.GetUtcNow() - seen;
            if (age > maxAge) { XdsLog.KeptTooOld(log, $"{age.TotalHours:0}", $"{maxAge.TotalHours:0}"); return null; }
            Dictionary<string, KeptResources> all = new(StringComparer.Ordinal);
            foreach (string type in Kept.Where(t => File.Exists(FileOf(t))))
            {
                JournalEnd end = KeptResources.Read(type, File.ReadAllBytes(FileOf(type)), out KeptResources kept);
                if (end == JournalEnd.Damaged)
                {
                    XdsLog.KeptDamaged(log, FileOf(type));
                    return null;
                }
                if (end == JournalEnd.Torn) { XdsLog.KeptTorn(log, FileOf(type), kept.Responses); }
                if (kept.Responses > 0) { all[type] = kept; }
            }
            return all.ContainsKey(XdsTypeUrl.Cluster) && all.ContainsKey(XdsTypeUrl.Listener) ? new OfflineResources(seen, all) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null; // nothing kept yet
        }
    }

    /// <summary>What is on disk now, for the debug pages. While a journal is written its last record may be missing.</summary>
    public IReadOnlyDictionary<string, KeptResources> Peek() => KeptFolder.Peek(_folder, Kept);

    public void Dispose()
    {
        Forget();
        while (_accepted.Reader.TryRead(out Held? held)) { held.Message.Dispose(); }
        _abandoned.Dispose();
    }

    private async Task WriteAllAsync()
    {
        List<Held> accepted = [];
        Dictionary<string, int> bases;
        lock (_gate) // what is accepted from here on is of the next round
        {
            while (_accepted.Reader.TryRead(out Held? held)) { accepted.Add(held); }
            bases = Kept.ToDictionary(t => t, _continuity.Bases, StringComparer.Ordinal);
        }
        try { await WriteAllAsync(accepted, bases); }
        finally
        {
            lock (_gate) { foreach (Held held in accepted) { Drop(held); } }
        }
    }

    private async Task WriteAllAsync(List<Held> accepted, Dictionary<string, int> bases)
    {
        List<string> unwritten = [];
        foreach (IGrouping<string, Held> type in accepted.GroupBy(h => h.Response.TypeUrl))
        {
            List<Held> responses = [.. type];
            int whole = Math.Max(responses.FindLastIndex(h => h.IsBase), 0); // what came before it does not count any more
            bool written = false;
            await TryAsync(async () => written = await WriteAsync(type.Key, responses[whole..]));
            if (!written) { unwritten.Add(type.Key); } // half of it may be on disk
        }
        string[] broken;
        lock (_gate)
        {
            foreach (string type in unwritten) { _continuity.Unwritten(type, bases[type]); }
            broken = [.. _continuity.Broken.Union(unwritten)];
            if (_pressing.Task.IsCompleted) { _pressing = new(TaskCreationOptions.RunContinuationsAsynchronously); }
        }
        foreach (string file in broken.Select(FileOf).Where(File.Exists)) { await TryAsync(() => { File.Delete(file); return Task.CompletedTask; }); }
        if (accepted.Count > 0) { await TryAsync(SeenAsync); }
    }

    /// <summary>False when the responses continue something that is not there.</summary>
    private async Task<bool> WriteAsync(string typeUrl, List<Held> responses)
    {
        Directory.CreateDirectory(_folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        string file = FileOf(typeUrl);
        foreach (Held held in responses) { await held.Message.Ready.WaitAsync(_abandoned.Token); }
        if (responses[0].IsBase)
        {
            await AtomicFile.WriteAsync(file, Record(responses[0]), Private, _abandoned.Token);
            _compacted[file] = responses[0].Message.Length;
            responses.RemoveAt(0);
            if (responses.Count == 0) { return true; }
        }
        else if (!File.Exists(file)) { return false; }
        await using (var journal = new FileStream(file, FileMode.Append, FileAccess.Write, FileShare.Read))
        {
            foreach (ReadOnlyMemory<byte> piece in responses.SelectMany(Record)) { await journal.WriteAsync(piece, _abandoned.Token); }
            if (journal.Length < Math.Max(LongestJournal, 2 * _compacted.GetValueOrDefault(file))) { return true; }
        }
        if (!await JournalCompaction.TryRunAsync(file, typeUrl, Private, _abandoned.Token)) { return false; }
        _compacted[file] = new FileInfo(file).Length;
        return true;
    }

    private static IEnumerable<ReadOnlyMemory<byte>> Record(Held held) => JournalRecord.Of(held.Response.Kind, held.Message.Length, held.Message.Pieces);

    private Task SeenAsync() => AtomicFile.WriteAsync(
        Path.Combine(_folder, "seen"), System.Text.Encoding.ASCII.GetBytes(time.GetUtcNow().ToString("O", CultureInfo.InvariantCulture)), Private, _abandoned.Token);

    private async Task TryAsync(Func<Task> write)
    {
        _abandoned.Token.ThrowIfCancellationRequested();
        try
        {
            await write();
            _complained = false;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            if (!_complained) { XdsLog.CannotKeep(log, _folder, e.Message); }
            _complained = true;
        }
    }

    private void Settle(Held held, bool accepted)
    {
        JournalStep step = _continuity.Settle(held.Response.TypeUrl, held.IsBase, accepted);
        if (step == JournalStep.None || !_accepted.Writer.TryWrite(held)) { Drop(held); }
        if (_held > mostHeld / 2) { _pressing.TrySetResult(); }
    }

    private void Drop(Held held)
    {
        _held -= held.Message.Length;
        held.Message.Dispose();
    }

    private string FileOf(string typeUrl) => KeptFolder.FileOf(_folder, typeUrl);

    private sealed record Held(XdsEnvelope Response, IPieces Message, bool IsBase);
}
