using VmSidecar.Grpc;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>At boot without istiod: Envoy is answered from what it accepted last, until istiod answers somebody.</summary>
internal sealed partial class XdsSession
{
    private OfflineResources? Candidate => IsAside ? null : context.Offline.Candidate;

    /// <summary>The stream to istiod; null when istiod takes too long and there is something to serve instead.</summary>
    private async Task<IGrpcClientCall?> DialAsync(CancellationToken stop)
    {
        string method = delta ? XdsMessages.DeltaMethod : XdsMessages.SotwMethod;
        if (Candidate is null) { return await context.Istiod.OpenAsync(method, stop); }
        TimeSpan patience = context.Offline.Remaining;
        if (patience == TimeSpan.Zero) { return null; }
        using var limit = new CancellationTokenSource(patience, context.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, stop);
        try
        {
            return await context.Istiod.OpenAsync(method, either.Token);
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested) { return null; }
    }

    /// <summary>An istiod that was reached and says nothing is as good as none.</summary>
    private async Task<SessionEnd> GiveUpAsync(CancellationToken stop)
    {
        try
        {
            if (Candidate is not null)
            {
                await Task.Delay(context.Offline.Remaining, context.Time, stop);
                if (Candidate is not null) { return SessionEnd.ByIstiod(new GrpcStatus(GrpcStatusCode.Unavailable, "istiod does not answer"), graceful: true); }
            }
            await Task.Delay(Timeout.InfiniteTimeSpan, context.Time, stop);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { }
        return SessionEnd.Stopped;
    }

    private async Task<SessionEnd> ServeOfflineAsync(OfflineResources kept, CancellationToken stop)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Task watch = EndOfflineAsync(kept, end);
        var answers = new OfflineAnswer(kept);
        context.Offline.Serving(kept);
        try
        {
            while (await envoy.ReadAsync(end.Token) is { } message)
            {
                using (message)
                {
                    if (!XdsEnvelope.TryRead(RequestKind, message.Body.Span, out XdsEnvelope? request)) { return NotARequest; }
                    LogRequest(request);
                    int unknown = answers.Unknown.Count;
                    foreach (byte[] response in answers.To(request, message.Body.Span)) { await envoy.SendAsync(response, end.Token); }
                    foreach (string name in answers.Unknown.Skip(unknown)) { XdsLog.ExtensionNotKept(context.Log, name, id); }
                }
            }
            return SessionEnd.ByEnvoy(GrpcStatus.Ok);
        }
        catch (GrpcException e) { return SessionEnd.ByEnvoy(e.Status); }
        catch (OperationCanceledException) when (end.IsCancellationRequested)
        {
            return stop.IsCancellationRequested ? SessionEnd.Stopped : SessionEnd.ByIstiod(new GrpcStatus(GrpcStatusCode.Unavailable, "istiod takes over"), graceful: true);
        }
        finally
        {
            context.Offline.Ended();
            await end.CancelAsync();
            await watch;
        }
    }

    /// <summary>Cancels when istiod answers or what is served has become too old.</summary>
    private async Task EndOfflineAsync(OfflineResources kept, CancellationTokenSource end)
    {
        try
        {
            await context.Offline.Reached.WaitAsync(context.Offline.Left(kept), context.Time, end.Token);
        }
        catch (TimeoutException) { }
        catch (OperationCanceledException) when (end.IsCancellationRequested) { return; }
        await end.CancelAsync();
    }
}
