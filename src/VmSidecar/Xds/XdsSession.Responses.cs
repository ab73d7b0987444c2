using VmSidecar.Grpc;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>The way from istiod to Envoy: read, take what is the agent's, deliver the rest.</summary>
internal sealed partial class XdsSession
{
    // A message above this is delivered before the next is read, so that a large push is held once and not three times.
    private const int Large = 1024 * 1024;

    private static readonly TimeSpan SlowSend = TimeSpan.FromSeconds(10); // what the classic agent calls slow

    private async Task<SessionEnd> ReadIstiodAsync(IGrpcClientCall istiod, CancellationToken stop)
    {
        try
        {
            while (await istiod.ReadAsync(stop) is { } message)
            {
                context.Metrics.Responses.Add();
                if (!XdsEnvelope.TryRead(ResponseKind, message.Body.Span, out XdsEnvelope? response))
                {
                    message.Dispose();
                    return SessionEnd.ByIstiod(new GrpcStatus(GrpcStatusCode.Internal, "grpc: failed to unmarshal the received message: not a discovery response"), graceful: false);
                }
                LogResponse(response);
                Ledger.Answered(response);
                context.Refusals.Welcomed();
                MoveTo(JointPhase.Up);
                if (!await RouteAsync(response, message, stop)) { return TooSlow(); }
            }
            return SessionEnd.ByIstiod(istiod.Status, istiod.EndedGracefully);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { return SessionEnd.Stopped; }
        finally
        {
            _deliveries.Writer.TryComplete();
        }
    }

    /// <summary>Takes ownership of the message. False when the agent's answer found no room.</summary>
    private async ValueTask<bool> RouteAsync(XdsEnvelope response, GrpcMessage message, CancellationToken stop)
    {
        if (!IsAside && context.Tap.Takes(response.TypeUrl))
        {
            using (message)
            {
                byte[]? answer = context.Tap.Consume(response, message.Body.Span);
                return answer is null || TryQueue(answer) || _requests.IsComplete;
            }
        }
        if (!IsForEnvoy(response.TypeUrl))
        {
            message.Dispose();
            XdsLog.Skipped(context.Log, response.TypeUrl);
            return true;
        }
        if (!IsAside && context.Links.Clusters is { } seen)
        {
            if (response.TypeUrl == XdsTypeUrl.Cluster) { seen.Observe(delta, message.Body.Span); }
            else if (response.TypeUrl == XdsTypeUrl.Routes) { seen.ObserveRoutes(delta, message.Body.Span); }
        }
        if (!await TryConvertAsync(response, message, stop)) { await DeliverAsync(response, Mended(response, message), stop); }
        return true;
    }

    /// <summary>The message, or what takes its place for an Envoy that is not Istio's; takes and gives ownership.</summary>
    private GrpcMessage Mended(XdsEnvelope response, GrpcMessage message)
    {
        if (_mender is not { } mender) { return message; }
        byte[]? mended = mender.Mend(response, message.Body.Span, out MendReport report);
        context.Mends.Note(report, id);
        if (mended is null) { return message; }
        message.Dispose();
        return GrpcMessage.Copy(mended);
    }

    // Beyond Envoy's own types, whatever the client asked for by itself on this stream is its business: debug types, types of the future.
    private bool IsForEnvoy(string typeUrl) =>
        XdsTypeUrl.IsEnvoys(typeUrl) || typeUrl is XdsTypeUrl.Workload or XdsTypeUrl.Address || Ledger.WasAsked(typeUrl);

    private async ValueTask DeliverAsync(XdsEnvelope response, GrpcMessage message, CancellationToken stop)
    {
        TaskCompletionSource? sent = message.Body.Length > Large ? new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously) : null;
        try
        {
            await _deliveries.Writer.WriteAsync(new Delivery(response, message, sent), stop);
        }
        catch
        {
            message.Dispose();
            throw;
        }
        if (sent is not null) { await sent.Task.WaitAsync(stop); }
    }

    private async Task<SessionEnd> SendEnvoyAsync(CancellationToken stop)
    {
        try
        {
            await foreach (Delivery next in _deliveries.Reader.ReadAllAsync(stop))
            {
                await SendEnvoyAsync(next, stop);
                if (Keeps) { context.Keeper.Delivered(next.Response, next.Message); } else { next.Message.Dispose(); }
                next.Sent?.TrySetResult();
            }
            return SessionEnd.Stopped; // istiod has ended and everything it sent is delivered
        }
        catch (GrpcException e) { return SessionEnd.ByEnvoy(e.Status); }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { return SessionEnd.Stopped; }
    }

    private async ValueTask SendEnvoyAsync(Delivery next, CancellationToken stop)
    {
        try
        {
            long begin = context.Time.GetTimestamp();
            await envoy.SendAsync(next.Message.Body, stop);
            TimeSpan took = context.Time.GetElapsedTime(begin);
            if (took > SlowSend) { XdsLog.SlowSend(context.Log, $"{took.TotalSeconds:0.000}s", id); }
        }
        catch
        {
            next.Message.Dispose();
            throw;
        }
    }

    private void LogResponse(XdsEnvelope response)
    {
        if (delta) { XdsLog.DeltaResponse(context.Log, id, XdsTypeUrl.Label(response.TypeUrl), response.Nonce, response.Resources, response.Removed); }
        else { XdsLog.Response(context.Log, id, XdsTypeUrl.Label(response.TypeUrl), response.Resources); }
    }

    /// <summary>A message for Envoy; <paramref name="Sent"/> is set for a large one, whose delivery the reader awaits.</summary>
    private readonly record struct Delivery(XdsEnvelope Response, GrpcMessage Message, TaskCompletionSource? Sent);
}
