using VmSidecar.Grpc;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>The way from istiod to Envoy: read, take what is the agent's, deliver the rest.</summary>
internal sealed partial class XdsSession
{
    private static readonly TimeSpan SlowSend = TimeSpan.FromSeconds(10); // what the classic agent calls slow

    private async Task<SessionEnd> ReadIstiodAsync(IGrpcClientCall istiod, CancellationToken stop)
    {
        try
        {
            while (true) // ends with the stream
            {
                if (await NextLengthAsync(istiod, stop) is not { } length) { return SessionEnd.ByIstiod(IstiodGoodbye.Status, graceful: true); }
                if (length < 0) { break; }
                SessionEnd? end;
                if (context.CutThrough.Takes(length))
                {
                    context.Metrics.Responses.Add();
                    end = await PassLargeAsync(istiod, length, stop);
                }
                else if (await istiod.ReadAsync(stop) is { } message)
                {
                    context.Metrics.Responses.Add();
                    end = await TakeAsync(message, stop);
                }
                else { break; }
                if (end is { } ended) { return ended; }
            }
            return SessionEnd.ByIstiod(istiod.Status, istiod.EndedGracefully);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { return SessionEnd.Stopped; }
    }

    /// <summary>One whole message; takes ownership. Null when the stream goes on.</summary>
    private ValueTask<SessionEnd?> TakeAsync(GrpcMessage message, CancellationToken stop)
    {
        if (!XdsEnvelope.TryRead(ResponseKind, message.Body.Span, out XdsEnvelope? response))
        {
            message.Dispose();
            return new(NotAResponse);
        }
        Note(response);
        if (!IsAside) { context.Refusals.Welcomed(joint: true); }
        MoveTo(JointPhase.Up);
        return RouteAsync(response, message, stop);
    }

    private async ValueTask<SessionEnd?> RouteAsync(XdsEnvelope response, GrpcMessage message, CancellationToken stop)
    {
        if (!IsAside && context.Tap.Takes(response.TypeUrl))
        {
            using (message)
            {
                byte[]? answer = context.Tap.Consume(response, message.Body.Span);
                return answer is null || TryAnswer(response, answer) || _requests.IsComplete ? null : TooSlow();
            }
        }
        if (!IsForEnvoy(response.TypeUrl))
        {
            message.Dispose();
            XdsLog.Skipped(context.Log, response.TypeUrl);
            return null;
        }
        if (!IsAside && context.Links.Clusters is { } seen)
        {
            if (response.TypeUrl == XdsTypeUrl.Cluster) { seen.Observe(delta, message.Body.Span); }
            else if (response.TypeUrl == XdsTypeUrl.Routes) { seen.ObserveRoutes(delta, message.Body.Span); }
        }
        if (_vips is { } vips && !IsAside && response.TypeUrl == XdsTypeUrl.Listener && vips.Add(response, message.Body.Span) is { } more)
        {
            message.Dispose();
            message = GrpcMessage.Copy(more);
        }
        if (await TryConvertAsync(response, message, stop)) { return null; }
        return await SendEnvoyAsync(response, Mended(response, message), stop);
    }

    /// <summary>The message, or what takes its place for an Envoy that is not Istio's; takes and gives ownership.</summary>
    private GrpcMessage Mended(XdsEnvelope response, GrpcMessage message)
    {
        if (_mender is not { } mender) { return message; }
        byte[]? mended = mender.Another().Mend(response, message.Body.Span, out MendReport report);
        context.Mends.Note(report, id);
        if (mended is null) { return message; }
        message.Dispose();
        return GrpcMessage.Copy(mended);
    }

    // Beyond Envoy's own types, whatever the client asked for by itself on this stream is its business: debug types, types of the future.
    private bool IsForEnvoy(string typeUrl) =>
        XdsTypeUrl.IsEnvoys(typeUrl) || typeUrl is XdsTypeUrl.Workload or XdsTypeUrl.Address || Ledger.WasAsked(typeUrl);

    /// <summary>Sends one whole message to Envoy; takes ownership. Null when it went.</summary>
    private async ValueTask<SessionEnd?> SendEnvoyAsync(XdsEnvelope response, IPieces message, CancellationToken stop)
    {
        try
        {
            await _envoyGate.WaitAsync(stop);
            try
            {
                if (_half) { throw new GrpcException(new GrpcStatus(GrpcStatusCode.Internal, "the stream ended within a message")); }
                long begin = context.Time.GetTimestamp();
                await SendPiecesAsync(message, stop);
                TimeSpan took = context.Time.GetElapsedTime(begin);
                if (took > SlowSend) { LogSlow($"{took.TotalSeconds:0.000}s"); }
            }
            finally { _envoyGate.Release(); }
        }
        catch (Exception e)
        {
            message.Dispose();
            if (e is GrpcException { Status: var status }) { return SessionEnd.ByEnvoy(status); }
            throw;
        }
        if (Keeps) { context.Keeper.Delivered(response, message); } else { message.Dispose(); }
        return null;
    }

    private async Task SendPiecesAsync(IPieces message, CancellationToken stop)
    {
        await envoy.BeginSendAsync(message.Length, stop);
        try
        {
            foreach (ReadOnlyMemory<byte> piece in message.Pieces) { await envoy.SendPieceAsync(piece, stop); }
        }
        catch (IOException e)
        {
            _half = true;
            throw new GrpcException(new GrpcStatus(GrpcStatusCode.Internal, "a response cannot be read back from the disk: " + e.Message));
        }
    }

    private void Note(XdsEnvelope response)
    {
        LogResponse(response);
        Ledger.Answered(response);
    }

    private static SessionEnd NotAResponse =>
        SessionEnd.ByIstiod(new GrpcStatus(GrpcStatusCode.Internal, "grpc: failed to unmarshal the received message: not a discovery response"), graceful: false);

    private void LogSlow(string took)
    {
        if (delta) { XdsLog.SlowSendDelta(context.Log, took, id); } else { XdsLog.SlowSend(context.Log, took, id); }
    }

    private void LogResponse(XdsEnvelope response)
    {
        if (delta) { XdsLog.DeltaResponse(context.Log, id, XdsTypeUrl.Label(response.TypeUrl), response.Nonce, response.Resources, response.Removed); }
        else { XdsLog.Response(context.Log, id, XdsTypeUrl.Label(response.TypeUrl), response.Resources); }
    }
}
