using VmSidecar.Grpc;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>
/// Large responses, passed on while they arrive. Stages: (1) the first bytes show the type, hence what happens to it; (2) watched by a scanner, blocks go
/// to Envoy as they fill, or, where resources are mended, into the mended message; (3) before the last piece goes the envelope must be
/// whole and of the type guessed, or Envoy's stream is reset: half a message is never completed by anything else.
/// </summary>
internal sealed partial class XdsSession
{
    // Half a message has gone to Envoy: nothing may follow it. Written under the gate. The reset comes when the session's end is known: it would look like Envoy's own end.
    private volatile bool _half;

    private static readonly TimeSpan DiskGrace = TimeSpan.FromSeconds(1); // so long one response waits for a slow disk before memory takes it

    private const int TypeWithin = 4096; // bytes from the beginning; version and a resource's name stand before it

    /// <summary>Takes the message begun. Null when the stream goes on.</summary>
    private async ValueTask<SessionEnd?> PassLargeAsync(IGrpcClientCall istiod, int length, CancellationToken stop)
    {
        using var first = new PieceList();
        if (!IsAside) { context.Refusals.Welcomed(joint: true); }
        MoveTo(JointPhase.Up);
        string? type = null;
        while (type is null && first.Length < Math.Min(length, TypeWithin)) // 1
        {
            int read = await istiod.ReadPieceAsync(first.Room(), stop);
            if (read == 0) { return SessionEnd.ByIstiod(istiod.Status, istiod.EndedGracefully); }
            first.Advance(read);
            type = XdsTypePeek.Find(ResponseKind, first.Pieces.First().Span);
        }
        if (type is null or XdsTypeUrl.Extension || (_vips is not null && type == XdsTypeUrl.Listener) || (!IsAside && context.Tap.Takes(type)) || !IsForEnvoy(type)) { return await GatherAsync(istiod, first, length, stop); }
        MendReport? report = null;
        FieldRewriter.Visit? mend = _mender?.Another().Begin(ResponseKind, type, out report);
        Dns.ClusterHosts.Observation? hosts = IsAside ? null : context.Links.Clusters?.Begin(type, delta);
        using var watch = new ResponseWatch(ResponseKind, length, hosts, mend, mend is null ? null : context.Keeper.Spill(new PieceList()));
        SessionEnd? end = mend is null ? await PassAsync(istiod, first, watch, type, length, stop) : await MendAsync(istiod, first, watch, type, length, stop); // 2
        if (end is not null) { return end; }
        hosts?.Commit();
        if (report is not null) { context.Mends.Note(report, id); }
        return null;
    }

    /// <summary>Unchanged: each block goes on as soon as it is full.</summary>
    private async ValueTask<SessionEnd?> PassAsync(IGrpcClientCall istiod, PieceList pieces, ResponseWatch watch, string type, int length, CancellationToken stop)
    {
        bool keep = Keeps && context.Keeper.Wants(type, length), whole = false;
        if (Keeps && !keep) { context.Keeper.Missed(type); }
        int passed = 0, fresh = pieces.Length;
        await _envoyGate.WaitAsync(stop);
        SpilledPieces? kept = null;
        try
        {
            if (keep) { kept = context.Keeper.Spill(pieces.Take()); }
            await envoy.BeginSendAsync(length, stop);
            while (true) // ends when all of it has passed
            {
                ReadOnlyMemory<byte> piece = (kept?.Now ?? pieces).Last(fresh);
                if (!watch.Feed(piece.Span) || (passed + fresh == length && !IsAsGuessed(watch, type))) { return NotAResponse; } // 3
                if (passed + fresh == length) { Note(watch.Envelope); }
                await envoy.SendPieceAsync(piece, stop);
                passed += fresh;
                if (passed == length) { break; }
                if (kept is null) { pieces.Clear(); } else { kept.Passed(); }
                PieceList room = kept?.Now ?? pieces;
                fresh = await FillAsync(istiod, room.Room(), length - passed, stop);
                if (fresh == 0) { return SessionEnd.ByIstiod(istiod.Status, istiod.EndedGracefully); }
                room.Advance(fresh);
            }
            whole = true;
        }
        catch (GrpcException e) { return SessionEnd.ByEnvoy(e.Status); }
        finally
        {
            _half = !whole;
            if (!whole) { kept?.Dispose(); }
            _envoyGate.Release();
        }
        if (kept is not null) { context.Keeper.Delivered(watch.Envelope, kept); }
        return null;
    }

    /// <summary>Fills the buffer, or as much of it as the message is still long; 0 when the stream ends before. Half a message is of no use to Envoy, and every piece costs it and us a turn.</summary>
    private static async ValueTask<int> FillAsync(IGrpcClientCall istiod, Memory<byte> room, int missing, CancellationToken stop)
    {
        int filled = 0;
        for (int most = Math.Min(room.Length, missing); filled < most;)
        {
            int read = await istiod.ReadPieceAsync(room[filled..most], stop);
            if (read == 0) { return 0; }
            filled += read;
        }
        return filled;
    }

    /// <summary>Mended resource by resource while it arrives; its new length is known at the end, so it goes on then.</summary>
    private async ValueTask<SessionEnd?> MendAsync(IGrpcClientCall istiod, PieceList piece, ResponseWatch watch, string type, int length, CancellationToken stop)
    {
        Task? patience = null;
        for (int read = piece.Length; ;)
        {
            if (!watch.Feed(piece.Pieces.First().Span)) { return NotAResponse; }
            if (watch.Mended!.Caught is { IsCompleted: false } disk) { await Task.WhenAny(disk, patience ??= Task.Delay(DiskGrace, context.Time, stop)); }
            if (read == length) { break; }
            piece.Clear();
            int fresh = await istiod.ReadPieceAsync(piece.Room(), stop);
            if (fresh == 0) { return SessionEnd.ByIstiod(istiod.Status, istiod.EndedGracefully); }
            piece.Advance(fresh);
            read += fresh;
        }
        if (!IsAsGuessed(watch, type)) { return NotAResponse; }
        Note(watch.Envelope);
        return await SendEnvoyAsync(watch.Envelope, watch.TakeMended(), stop);
    }

    /// <summary>The type does not show, or is one that is taken as a whole.</summary>
    private async ValueTask<SessionEnd?> GatherAsync(IGrpcClientCall istiod, PieceList pieces, int length, CancellationToken stop)
    {
        while (pieces.Length < length)
        {
            int read = await istiod.ReadPieceAsync(pieces.Room(), stop);
            if (read == 0) { return SessionEnd.ByIstiod(istiod.Status, istiod.EndedGracefully); }
            pieces.Advance(read);
        }
        return await TakeAsync(pieces.Move(), stop);
    }

    private bool IsAsGuessed(ResponseWatch watch, string type)
    {
        if (watch.IsComplete && watch.Envelope.TypeUrl != type) { context.CutThrough.SwitchOff(); }
        return watch.IsComplete && watch.Envelope.TypeUrl == type;
    }
}
