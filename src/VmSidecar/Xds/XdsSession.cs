using VmSidecar.Grpc;
using VmSidecar.Health;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>
/// One Envoy stream and one istiod stream of the same method, for the life of both. Stages: (1) dial, (2) pump both ways,
/// (3) the first end decides, (4) close both. Four loops: read Envoy, send to istiod, read istiod and hand on to Envoy, report
/// health; a fifth gives up on a silent istiod at boot, a sixth leaves one that has said goodbye. Reading Envoy never waits for sending to istiod (<see cref="RequestQueue"/>); a slow Envoy throttles istiod (what
/// it does not take is not read). Messages are forwarded as the bytes they came in. Owned by <see cref="XdsProxy"/>.
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "a source without a timer holds nothing to free, and a superseding stream may cancel it after the session has ended")]
internal sealed partial class XdsSession(long id, bool delta, IGrpcServerCall envoy, XdsContext context, Action<XdsSession, JointPhase> moved)
{
    private readonly RequestQueue _requests = new();
    private readonly SemaphoreSlim _envoyGate = new(1); // one message at a time towards Envoy
    private readonly VipListeners? _vips = context.Links.VipServices is { } services ? new(services) : null; // used by the loop that reads istiod
    private readonly CancellationTokenSource _supersede = new(); // a newer stream has taken over, or the agent stops
    private volatile ResourceMender? _mender; // set from Envoy's first request, before istiod sees it
    private readonly TaskCompletionSource _over = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _leaving; // the agent has half-closed, to stop
    private GrpcStatus _supersededWith = GrpcStatus.Ok;

    /// <summary>Number of the stream in logs.</summary>
    public long Id => id;

    /// <summary>The protocol of this stream, chosen by Envoy.</summary>
    public bool Delta => delta;

    /// <summary>A stream of its own for a gRPC client without a proxy, beside the data plane's: nothing is added, kept, or served from the disk.</summary>
    public bool IsAside { get; init; }

    /// <summary>The client has said that it is a gRPC client without a proxy.</summary>
    public bool IsProxyless { get; private set; }

    /// <summary>How far the stream is; written by its own loops.</summary>
    public JointPhase Phase { get; private set; }

    /// <summary>Since when istiod has answered.</summary>
    public DateTimeOffset? UpSince { get; private set; }

    /// <summary>Why istiod ended it, with the fix where it is a refusal; empty where it did not.</summary>
    public string Trouble { get; private set; } = "";

    /// <summary>What went over it.</summary>
    public StreamLedger Ledger { get; } = new(context.Time);

    /// <summary>How it ended; valid after <see cref="RunAsync"/>.</summary>
    public SessionEnd End { get; private set; }

    /// <summary>Ends the stream towards Envoy with this status and closes istiod's.</summary>
    public void Supersede(GrpcStatus status)
    {
        _supersededWith = status;
        _supersede.Cancel();
    }

    /// <summary>
    /// Tells istiod this last state of health and half-closes: when istiod ends the stream, it has read all of it. A reset instead may overtake
    /// what was sent, and gRPC drops what it has not read by then. Returns then, or when <paramref name="limit"/> fires; <see cref="Supersede"/> follows.
    /// </summary>
    public async Task TakeLeaveAsync(HealthState last, GrpcStatus status, CancellationToken limit)
    {
        if (IsAside || !_listenersAsked.Task.IsCompletedSuccessfully) { return; } // istiod was told no health on this stream
        if (!await ToldAsync(last, _over.Task, limit)) { return; }
        _supersededWith = status;
        _leaving = true;
        _requests.Complete();
        await _over.Task.WaitAsync(limit);
    }

    /// <summary>Serves until either side ends; the result becomes Envoy's trailers.</summary>
    public async Task<GrpcStatus> RunAsync(CancellationToken aborted)
    {
        try { return await ServeAsync(aborted); }
        finally { _over.TrySetResult(); } // the result stands: who supersedes it now changes nothing
    }

    private async Task<GrpcStatus> ServeAsync(CancellationToken aborted)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(_supersede.Token);
        using var client = CancellationTokenSource.CreateLinkedTokenSource(stop.Token, aborted); // istiod's side may outlive Envoy's for a last word
        try
        {
            await using IGrpcClientCall? istiod = await DialAsync(client.Token); // 1
            if (istiod is not null)
            {
                LogConnected();
                End = await PumpAsync(istiod, stop, client.Token); // 2, 3
            }
            else
            {
                End = Candidate is { } kept
                    ? await ServeOfflineAsync(kept, client.Token)
                    : SessionEnd.ByIstiod(new GrpcStatus(GrpcStatusCode.Unavailable, "istiod takes over"), graceful: true);
            }
        }
        catch (GrpcException e)
        {
            LogDialFailed(e);
            context.Metrics.ConnectionFailures.Add();
            Trouble = e.Status.ToString();
            context.Metrics.IstiodErrors.Add();
            End = new SessionEnd(SessionCause.Istiod, e.Status, Expected: true);
            return e.Status;
        }
        catch (OperationCanceledException) when (client.IsCancellationRequested)
        {
            End = SessionEnd.Stopped;
        }
        finally { Free(); }
        if (_leaving) { End = SessionEnd.Stopped; }
        if (End.Cause == SessionCause.Stopped) { End = IsSuperseded ? End : SessionEnd.ByEnvoy(new GrpcStatus(GrpcStatusCode.Cancelled, "context canceled")); }
        Report();
        return IsSuperseded ? _supersededWith : End.Status;
    }

    private bool IsSuperseded => _leaving || _supersede.IsCancellationRequested;

    private async Task<SessionEnd> PumpAsync(IGrpcClientCall istiod, CancellationTokenSource stop, CancellationToken client)
    {
        Task<SessionEnd> requests = ReadEnvoyAsync(client), upstream = SendIstiodAsync(istiod, stop.Token);
        Task<SessionEnd> responses = ReadIstiodAsync(istiod, stop.Token);
        Task<SessionEnd> health = ReportHealthAsync(stop.Token), patience = GiveUpAsync(stop.Token), goodbye = LeaveInTimeAsync(istiod, stop.Token);
        Task<SessionEnd>[] loops = [requests, upstream, responses, health, patience, goodbye];
        Task<SessionEnd> first = await Task.WhenAny(loops);
        if (first == requests && (await requests).Status.IsOk && _requests.IsComplete)
        {
            await Task.WhenAny(responses, Task.Delay(DrainGrace, context.Time, client)); // half-closed: istiod's answers and its end still count
            if (responses.IsCompletedSuccessfully) { first = responses; }
        }
        bool byEnvoy = first == requests || (first == responses && (await responses).Cause == SessionCause.Envoy); // its end shows first to who reads it or to who writes to it
        if (byEnvoy && Unsaid is { } last) { await LastWordsAsync(istiod, last, upstream, responses, stop.Token); }
        if (first == upstream)
        {
            await Task.WhenAny(responses, Task.Delay(StatusGrace, context.Time, stop.Token)); // its trailers say why the send failed
            if (responses.IsCompletedSuccessfully) { first = responses; }
        }
        await stop.CancelAsync();
        try { await Task.WhenAll(loops); } // a bug still surfaces, after all have ended
        finally
        {
            if (_half) { envoy.Abandon(); }
        }
        await _conversions;
        await _unread.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // cancelled with the loops
        return await first;
    }

    private static readonly TimeSpan StatusGrace = TimeSpan.FromSeconds(1); // trailers follow a failed send at once, if at all
    private static readonly TimeSpan DrainGrace = TimeSpan.FromSeconds(5);  // Envoy's main thread may stall for seconds

    private void MoveTo(JointPhase phase)
    {
        if (Phase >= phase) { return; }
        Phase = phase;
        if (phase == JointPhase.Up)
        {
            UpSince = context.Time.GetUtcNow();
            if (!IsAside) { context.Offline.IsReached(); }
        }
        moved(this, phase);
    }

    private void Free()
    {
        _requests.Close();
        if (!IsAside) { context.Keeper.Forget(); }
    }

    private static SessionEnd NotARequest =>
        SessionEnd.ByEnvoy(new GrpcStatus(GrpcStatusCode.Internal, "grpc: failed to unmarshal the received message: not a discovery request"));

    private void Report()
    {
        if (delta) { XdsLog.DisconnectedDelta(context.Log, context.Istiod.Address, id); }
        else { XdsLog.Disconnected(context.Log, context.Istiod.Address, id); }
        switch (End.Cause)
        {
            case SessionCause.Stopped:
                XdsLog.Superseded(context.Log, id);
                break;
            case SessionCause.Envoy:
                (End.Expected ? context.Metrics.EnvoyCancelled : context.Metrics.EnvoyErrors).Add();
                if (End.Expected) { XdsLog.DownstreamEnded(context.Log, End.Said, id); } else { XdsLog.DownstreamFailed(context.Log, End.Said, id); }
                break;
            default:
                (End.Expected ? context.Metrics.IstiodCancelled : context.Metrics.IstiodErrors).Add();
                if (End.Expected || RefusalReporter.IsRefusal(End.Status)) { XdsLog.UpstreamEnded(context.Log, End.Said, id); } else { XdsLog.UpstreamFailed(context.Log, End.Said, id); }
                if (End.Expected && UpSince is { } since) { XdsLog.EndedByIstiod(context.Log, context.Istiod.Address, $"{(context.Time.GetUtcNow() - since).TotalSeconds:0}s", End.Said, id); }
                if (!IsAside) { Trouble = context.Refusals.Ended(End.Status, joint: true); }
                if (Phase != JointPhase.Up) { context.Refusals.DiedUnanswered(End.Status); }
                break;
        }
    }

    private void LogConnected()
    {
        if (delta) { XdsLog.ConnectedDelta(context.Log, context.Istiod.Address, id); }
        else { XdsLog.Connected(context.Log, context.Istiod.Address, id); }
    }

    private void LogDialFailed(GrpcException e)
    {
        if (e.IsOurs) { XdsLog.CannotConnect(context.Log, context.Istiod.Address, e.Status.Message); }
        if (delta) { XdsLog.DialFailedDelta(context.Log, e.Status.ToString(), id); }
        else { XdsLog.DialFailed(context.Log, e.Status.ToString(), id); }
    }

    private XdsMessageKind RequestKind => delta ? XdsMessageKind.DeltaRequest : XdsMessageKind.Request;

    private XdsMessageKind ResponseKind => delta ? XdsMessageKind.DeltaResponse : XdsMessageKind.Response;
}
