using System.Collections.Concurrent;

using VmSidecar.Grpc;
using VmSidecar.Health;
using VmSidecar.Lifecycle;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>The way from Envoy to istiod: read, queue, add the agent's own requests, send.</summary>
internal sealed partial class XdsSession
{
    // istiod gives up on a health update whose write keeps failing, and nothing else heals that before the next stream.
    private static readonly TimeSpan HealthAgain = TimeSpan.FromMinutes(5);

    private const int LargeRequest = 3 * 1024 * 1024; // bytes; three quarters of what istiod takes (reference 03 section 3.5)

    private readonly TaskCompletionSource<HealthState?> _listenersAsked = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly ConcurrentQueue<HealthState> _reporting = new(); // in the order of the health messages in the queue
    private readonly HashSet<string> _begun = new(StringComparer.Ordinal); // kept types asked for on this stream; used by the loop that sends
    private readonly Lock _reportGate = new(); // the loop that reports health and the one that reads Envoy; guards _queued and the order of the two queues
    private HealthState? _queued; // queued last
    private bool _namesAsked, _warnedOfSize;

    /// <summary>The health istiod was told last on this stream.</summary>
    public Published<HealthState> Reported { get; } = new();

    private async Task<SessionEnd> ReadEnvoyAsync(CancellationToken stop)
    {
        try
        {
            while (await envoy.ReadAsync(stop) is { } message)
            {
                context.Metrics.LargestRequest.Value = Math.Max(context.Metrics.LargestRequest.Value, message.Length);
                if (!XdsEnvelope.TryRead(RequestKind, message.Body.Span, out XdsEnvelope? request))
                {
                    message.Dispose();
                    return NotARequest;
                }
                LogRequest(request);
                WarnOfSize(message.Length, request.TypeUrl);
                if (request.HasNode) { Meet(message.Body.Span[request.Node]); }
                if ((!TryQueue(message, request) || !TryInject(request)) && !_leaving) { return TooSlow(); }
            }
            if (Unsaid is { } last) { TryReport(last); } // nothing can follow
            _requests.Complete();
            return SessionEnd.ByEnvoy(GrpcStatus.Ok);
        }
        catch (GrpcException e) { return SessionEnd.ByEnvoy(e.Status); }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { return SessionEnd.Stopped; }
    }

    private void Meet(ReadOnlySpan<byte> node)
    {
        _mender = ResourceMender.For(node);
        IsProxyless = XdsClient.IsProxylessNode(node);
    }

    /// <summary>
    /// The agent's own requests. Names and trust follow Envoy's first request, because istiod answers any type once it has seen a
    /// node: the name table does not wait for clusters to warm. Health follows the first LDS request, as istiod's health checks expect a data plane.
    /// </summary>
    private bool TryInject(XdsEnvelope request)
    {
        if (IsAside) { return true; }
        if (request.HasNode && !_namesAsked)
        {
            _namesAsked = true;
            MoveTo(JointPhase.Asked);
            foreach (string type in context.Tap.Subscriptions)
            {
                if (!TryQueue(XdsMessages.Subscribe(delta, type))) { return false; }
            }
        }
        if (request.TypeUrl == XdsTypeUrl.Listener && !_listenersAsked.Task.IsCompleted)
        {
            HealthState? state = context.Links.Health.Current;
            if (state is not null && !TryReport(state)) { return false; }
            _listenersAsked.TrySetResult(state);
        }
        return true;
    }

    private async Task<SessionEnd> SendIstiodAsync(IGrpcClientCall istiod, CancellationToken stop)
    {
        string typeUrl = "";
        try
        {
            while (await _requests.TakeAsync(stop) is { } entry)
            {
                using (entry.Message)
                {
                    typeUrl = entry.Envelope.TypeUrl;
                    NoteRequest(entry.Envelope);
                    Ledger.Named(entry.Envelope, entry.Message.Body.Span);
                    await istiod.SendAsync(entry.Message.Body, stop);
                    context.Metrics.Requests.Add();
                    if (typeUrl == XdsTypeUrl.Health && _reporting.TryDequeue(out HealthState? told)) { Reported.Set(told); }
                }
            }
            await istiod.CompleteAsync(stop); // Envoy has half-closed
            await Task.Delay(Timeout.InfiniteTimeSpan, context.Time, stop);
            return SessionEnd.Stopped;
        }
        catch (GrpcException e)
        {
            return new SessionEnd(SessionCause.IstiodSend, new GrpcStatus(GrpcStatusCode.Unknown, $"send error for type url {typeUrl}: {e.Status.Message}"), Expected: false);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { return SessionEnd.Stopped; }
    }

    /// <summary>Health is a state: the latest goes out after the first LDS request, at each change and again from time to time.</summary>
    private async Task<SessionEnd> ReportHealthAsync(CancellationToken stop)
    {
        try
        {
            HealthState? sent = await _listenersAsked.Task.WaitAsync(stop);
            while (true) // ends with the stream
            {
                (HealthState? state, Task changed) = context.Links.Health.Watch();
                bool again = false;
                if (ReferenceEquals(state, sent))
                {
                    using var timer = CancellationTokenSource.CreateLinkedTokenSource(stop);
                    again = await Task.WhenAny(changed, Task.Delay(HealthAgain, context.Time, timer.Token)) != changed;
                    await timer.CancelAsync();
                    stop.ThrowIfCancellationRequested();
                    if (!again) { continue; }
                }
                if (state is not null && !TryReport(state, again) && !_requests.IsComplete) { return TooSlow(); }
                sent = state;
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { return SessionEnd.Stopped; }
    }

    /// <summary>Queues a state, unless it is the one queued last.</summary>
    private bool TryReport(HealthState state, bool again = false)
    {
        lock (_reportGate) // who is told that a state is queued may close the queue: then it is in there
        {
            if (ReferenceEquals(_queued, state) && !again) { return true; }
            _queued = state;
            _reporting.Enqueue(state);
            return TryQueue(XdsMessages.Health(delta, state));
        }
    }

    /// <summary>
    /// An ACK or NACK of the agent's own, on the stream that brought the response, and only where the type has been asked for on it: before Envoy's node istiod
    /// hears nothing, and a NACK of what it has no record of crashes it.
    /// </summary>
    private bool TryAnswer(XdsEnvelope response, byte[] answer) => !Ledger.WasAsked(response.TypeUrl) || TryQueue(answer);

    private bool TryQueue(byte[] own)
    {
        GrpcMessage message = GrpcMessage.Copy(own);
        return XdsEnvelope.TryRead(RequestKind, own, out XdsEnvelope? envelope) && TryQueue(message, envelope);
    }

    private bool TryQueue(GrpcMessage message, XdsEnvelope envelope) => _requests.TryAdd(message, envelope);

    private SessionEnd TooSlow()
    {
        XdsLog.QueueFull(context.Log, _requests.Waiting, id);
        return SessionEnd.ByEnvoy(new GrpcStatus(GrpcStatusCode.ResourceExhausted, "istiod takes requests too slowly"));
    }

    /// <summary>What is kept for an offline start is Envoy's, nobody else's.</summary>
    private bool Keeps => !IsAside && !IsProxyless;

    private void NoteRequest(XdsEnvelope request)
    {
        bool refused = Ledger.Asked(request);
        if (Keeps)
        {
            NoteFirst(request);
            context.Keeper.Answered(request);
        }
        if (!request.HasError || context.Tap.Takes(request.TypeUrl) || request.TypeUrl == XdsTypeUrl.Health) { return; }
        context.Metrics.Refusals.Add();
        if (refused) { XdsLog.Rejected(context.Log, XdsTypeUrl.Label(request.TypeUrl), request.ErrorMessage + NackAdvice.For(request.ErrorMessage), id); }
    }

    /// <summary>The answer to the first request for a type is complete: who gathers what passes begins anew where Envoy holds nothing that istiod could name as gone.</summary>
    private void NoteFirst(XdsEnvelope request)
    {
        if (!ResourceKeeper.Keeps(request.TypeUrl) || !_begun.Add(request.TypeUrl)) { return; }
        bool holdsNothing = request.Initial == 0; // SotW has no such field: its first answer is complete in any case
        context.Keeper.Begins(request.TypeUrl, holdsNothing);
        context.Links.Clusters?.Begins(request.TypeUrl, holdsNothing);
    }

    private void WarnOfSize(int length, string typeUrl)
    {
        if (length < LargeRequest || _warnedOfSize) { return; }
        _warnedOfSize = true;
        XdsLog.LargeRequest(context.Log, length, XdsTypeUrl.Label(typeUrl), id);
    }

    private void LogRequest(XdsEnvelope request)
    {
        if (delta) { XdsLog.DeltaRequest(context.Log, id, XdsTypeUrl.Label(request.TypeUrl), request.Names, request.Removed, request.Nonce, request.Initial); }
        else { XdsLog.Request(context.Log, request.TypeUrl, id); }
    }
}
