using VmSidecar.Grpc;
using VmSidecar.Lifecycle;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>
/// The agent's own stream to istiod, while Envoy has none: name tables and trust anchors only, under the same node without
/// registration. Stages of its one loop: (1) wait until Envoy has no stream, (2) wait the back-off, (3) open, (4) consume
/// until it ends or Envoy's stream is up. It also settles whether istiod speaks delta. Owned by <see cref="XdsProxy"/>.
/// </summary>
internal sealed class AgentStream(XdsContext context, Published<JointState> joint, Published<XdsMode> mode)
{
    // Full jitter, so that a thousand VMs that lose one istiod do not return as a wave.
    private static readonly Backoff Retry = new(TimeSpan.FromMilliseconds(500), TimeSpan.FromSeconds(30), Factor: 2, Jitter: 1);

    private static readonly TimeSpan Shortest = TimeSpan.FromMilliseconds(10); // full jitter can draw next to nothing; never a hot loop

    private readonly byte[] _node = NodeMessage.WithoutRegistration(context.Options.Node);
    private JointState? _counted;
    private int _failures;
    private bool _warned;

    /// <summary>Since when the stream has answered; null while there is none.</summary>
    public DateTimeOffset? UpSince { get; private set; }

    /// <summary>What went over the current or last stream.</summary>
    public StreamLedger Ledger { get; private set; } = new(context.Time);

    /// <summary>Why there is no stream, as last seen.</summary>
    public string Trouble { get; private set; } = "";

    /// <summary>Runs until cancelled.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        if (context.Tap.Subscriptions.Count == 0 && context.Options.Delta is not null && context.Offline.Candidate is null) { return; } // nothing to ask, to settle or to come back to
        try
        {
            while (true) // ends by cancellation only
            {
                (JointState? state, Task changed) = joint.Watch();
                if (state!.Phase != JointPhase.None) // 1
                {
                    await changed.WaitAsync(stop);
                    continue;
                }
                if (!ReferenceEquals(state, _counted)) // each end of Envoy's stream counts once
                {
                    _counted = state;
                    _failures = state.IstiodEnded ? Math.Max(_failures, 1) : 0;
                }
                if (!await WaitedAsync(changed, stop)) { continue; } // 2
                await AttemptAsync(stop);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { }
    }

    /// <summary>False when Envoy's stream moved meanwhile.</summary>
    private async Task<bool> WaitedAsync(Task moved, CancellationToken stop)
    {
        if (_failures == 0) { return true; }
        TimeSpan delay = Retry.After(_failures, Random.Shared.NextDouble());
        if (delay < Shortest) { delay = Shortest; }
        using var timer = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Task renewed = context.Links.Secrets?.Watch().Changed ?? Task.Delay(Timeout.InfiniteTimeSpan, context.Time, timer.Token);
        Task first = await Task.WhenAny(moved, renewed, Task.Delay(delay, context.Time, timer.Token));
        await timer.CancelAsync();
        stop.ThrowIfCancellationRequested();
        return first != moved;
    }

    private async Task AttemptAsync(CancellationToken stop)
    {
        using var handOver = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Task watch = CancelWhenJointIsUpAsync(handOver);
        bool delta = mode.Current!.Delta || (!mode.Current.Settled && context.Options.Delta is null); // a guess is tested: an upgraded istiod speaks delta
        try
        {
            GrpcStatus? end = await ConverseAsync(delta, handOver.Token); // 3, 4
            if (end is null && UpSince is not null) { return; } // left in order, and spread already: the next attempt follows at once
            GrpcStatus status = end ?? IstiodGoodbye.Status;
            if (UpSince is null) { context.Refusals.DiedUnanswered(status); }
            await EndedAsync(delta, status, stop);
        }
        catch (GrpcException e)
        {
            await EndedAsync(delta, e.Status, stop);
        }
        catch (OperationCanceledException) when (handOver.IsCancellationRequested)
        {
            stop.ThrowIfCancellationRequested();
            _warned = false;
            XdsLog.OwnHandedOver(context.Log, context.Istiod.Address);
        }
        finally
        {
            UpSince = null;
            await handOver.CancelAsync();
            await watch;
        }
    }

    /// <summary>How istiod ended the stream; null: we left it, after istiod's goodbye. A status would not tell, as the transport says the same of streams that it lost.</summary>
    private async Task<GrpcStatus?> ConverseAsync(bool delta, CancellationToken stop)
    {
        Ledger = new StreamLedger(context.Time);
        await using IGrpcClientCall istiod = await context.Istiod.OpenAsync(delta ? XdsMessages.DeltaMethod : XdsMessages.SotwMethod, stop);
        context.Metrics.OwnStreams.Add();
        bool first = true;
        foreach (string type in context.Tap.Subscriptions.DefaultIfEmpty(XdsTypeUrl.NameTable))
        {
            await SendAsync(istiod, delta, XdsMessages.Subscribe(delta, type, first ? _node : default), stop);
            first = false;
        }
        using var turn = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Task leaving = LeaveInTimeAsync(istiod, turn);
        try { return await ConsumeAsync(istiod, delta, turn.Token, stop); }
        catch (OperationCanceledException) when (turn.IsCancellationRequested && !stop.IsCancellationRequested) { return null; }
        finally
        {
            await turn.CancelAsync();
            await leaving;
        }
    }

    /// <summary>Reads until the stream ends, or <paramref name="turn"/> fires; what has been read is taken and answered.</summary>
    private async Task<GrpcStatus> ConsumeAsync(IGrpcClientCall istiod, bool delta, CancellationToken turn, CancellationToken stop)
    {
        while (await istiod.ReadAsync(turn) is { } message)
        {
            using (message)
            {
                context.Metrics.Responses.Add();
                if (!XdsEnvelope.TryRead(delta ? XdsMessageKind.DeltaResponse : XdsMessageKind.Response, message.Body.Span, out XdsEnvelope? response))
                {
                    return new GrpcStatus(GrpcStatusCode.Internal, "istiod sent something that is not a discovery response");
                }
                Ledger.Answered(response);
                await UpAsync(delta, stop);
                byte[]? answer = context.Tap.Takes(response.TypeUrl) ? context.Tap.Consume(response, message.Body.Span) : null;
                if (answer is not null) { await SendAsync(istiod, delta, answer, stop); }
            }
        }
        return istiod.Status;
    }

    private async Task LeaveInTimeAsync(IGrpcClientCall istiod, CancellationTokenSource turn)
    {
        try
        {
            await IstiodGoodbye.TimeToLeaveAsync(istiod, context, turn.Token);
            await turn.CancelAsync();
        }
        catch (OperationCanceledException) when (turn.IsCancellationRequested) { }
    }

    private async Task SendAsync(IGrpcClientCall istiod, bool delta, byte[] request, CancellationToken stop)
    {
        if (XdsEnvelope.TryRead(delta ? XdsMessageKind.DeltaRequest : XdsMessageKind.Request, request, out XdsEnvelope? envelope)) 
        {
            Ledger.Asked(envelope);
            Ledger.Named(envelope, request);
        }
        try
        {
            await istiod.SendAsync(request, stop);
        }
        catch (GrpcException e)
        {
            throw new GrpcException(await istiod.StatusAsync(e.Status, context.Time, stop), e);
        }
        context.Metrics.Requests.Add();
    }

    private async Task UpAsync(bool delta, CancellationToken stop)
    {
        if (UpSince is not null) { return; }
        UpSince = context.Time.GetUtcNow();
        _failures = 0;
        _warned = false;
        Trouble = "";
        context.Refusals.Welcomed(joint: false);
        context.Offline.IsReached();
        XdsLog.OwnUp(context.Log, context.Istiod.Address, delta ? "delta" : "sotw");
        await SettleAsync(delta, stop);
    }

    private async Task EndedAsync(bool delta, GrpcStatus status, CancellationToken stop)
    {
        if (delta && status.Code == GrpcStatusCode.Unimplemented && context.Options.Delta is null)
        {
            await SettleAsync(delta: false, stop); // not a failure: the next attempt follows at once
            return;
        }
        _failures++;
        string explained = context.Refusals.Ended(status, joint: false);
        Trouble = explained;
        XdsLog.OwnAttempt(context.Log, context.Istiod.Address, _failures, status.ToString());
        if (UpSince is { } since)
        {
            XdsLog.OwnLost(context.Log, context.Istiod.Address, $"{(context.Time.GetUtcNow() - since).TotalSeconds:0}s", status.ToString());
            _warned = true;
        }
        else if (!_warned && !RefusalReporter.IsRefusal(status)) { _warned = context.Refusals.CannotOpen(status); }
    }

    private async Task SettleAsync(bool delta, CancellationToken stop)
    {
        XdsMode seen = new(delta, Settled: true);
        if (mode.Current == seen) { return; }
        mode.Set(seen);
        XdsLog.ModeSettled(context.Log, context.Istiod.Address, seen.Word);
        await seen.TrySaveAsync(context.Options.StateDirectory, stop);
    }

    /// <summary>Ends the own stream once istiod has answered on Envoy's.</summary>
    private async Task CancelWhenJointIsUpAsync(CancellationTokenSource handOver)
    {
        try
        {
            while (true) // ends by cancellation
            {
                (JointState? state, Task changed) = joint.Watch();
                if (state!.Phase == JointPhase.Up)
                {
                    await handOver.CancelAsync();
                    return;
                }
                await changed.WaitAsync(handOver.Token);
            }
        }
        catch (OperationCanceledException) when (handOver.IsCancellationRequested) { }
    }
}
