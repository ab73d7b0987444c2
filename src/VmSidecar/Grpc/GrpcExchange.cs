using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

using VmSidecar.Wire.Grpc;

namespace VmSidecar.Grpc;

/// <summary>
/// Turns one HTTP/2 request into one gRPC call: (1) refuse what is not gRPC, (2) find the handler, (3) run it under the client's
/// deadline, (4) write its status as trailers, or as headers when no message was sent. Owned by <see cref="GrpcServer"/>.
/// </summary>
internal sealed partial class GrpcExchange(GrpcServerOptions options, IReadOnlyDictionary<string, GrpcHandler> methods, ReceiveBudgets budgets, ILogger log, CancellationToken stopping)
{
    public async Task RunAsync(HttpContext http)
    {
        if (options.Date is { } date) { http.Response.Headers.Date = date()?.ToString("R") ?? ""; }
        if (!GrpcMetadata.IsGrpc(http.Request.ContentType)) // 1
        {
            http.Response.StatusCode = StatusCodes.Status415UnsupportedMediaType;
            return;
        }
        if (!HttpMethods.IsPost(http.Request.Method))
        {
            http.Response.StatusCode = StatusCodes.Status405MethodNotAllowed;
            return;
        }
        ReceiveBudget budget = budgets.Of(http.Features.Get<IConnectionSocketFeature>()?.Socket);
        using var call = new GrpcServerCall(http, options.MaxReceiveOf.GetValueOrDefault(http.Request.Path.Value ?? "", options.MaxReceive), budget);
        if (!methods.TryGetValue(call.Method, out GrpcHandler? handler)) // 2
        {
            WriteStatus(http, new GrpcStatus(GrpcStatusCode.Unimplemented, $"unknown method {call.Method}"));
            return;
        }
        GrpcStatus status = await ServeAsync(http, call, handler, budget); // 3
        if (!http.RequestAborted.IsCancellationRequested && !call.IsAbandoned) { WriteStatus(http, status); } // 4
    }

    private async Task<GrpcStatus> ServeAsync(HttpContext http, GrpcServerCall call, GrpcHandler handler, ReceiveBudget budget)
    {
        try { budget.Take(ReceiveBudget.PerCall); }
        catch (GrpcException e) { return e.Status; }
        try { return await ServeAsync(http, call, handler); }
        finally { budget.Return(ReceiveBudget.PerCall); }
    }

    private async Task<GrpcStatus> ServeAsync(HttpContext http, GrpcServerCall call, GrpcHandler handler)
    {
        TimeSpan deadline = Timeout.InfiniteTimeSpan;
        if (call.Metadata(GrpcMetadata.Timeout) is { } text && !GrpcTimeout.TryParse(text, out deadline))
        {
            return new GrpcStatus(GrpcStatusCode.Internal, $"malformed grpc-timeout: {text}");
        }
        using var limit = new CancellationTokenSource();
        if (deadline >= TimeSpan.Zero && deadline.TotalMilliseconds < int.MaxValue) { limit.CancelAfter(deadline); }
        using var aborted = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, stopping, limit.Token);
        GrpcStatus status;
        try { status = await handler(call, aborted.Token); }
        catch (GrpcException e) { status = e.Status; }
        catch (OperationCanceledException) when (aborted.IsCancellationRequested) { status = new GrpcStatus(GrpcStatusCode.Cancelled, "the call was cancelled"); }
#pragma warning disable CA1031 // a bug in one call must not end the other calls; it is logged with its stack and the client is told
        catch (Exception e)
        {
            HandlerFailed(log, e, call.Method);
            return new GrpcStatus(GrpcStatusCode.Internal, "the server failed on this call");
        }
#pragma warning restore CA1031
        if (status.IsOk) { return status; }
        if (limit.IsCancellationRequested) { return new GrpcStatus(GrpcStatusCode.DeadlineExceeded, "context deadline exceeded"); }
        return stopping.IsCancellationRequested && status.Code == GrpcStatusCode.Cancelled ? new GrpcStatus(GrpcStatusCode.Unavailable, "transport is closing") : status;
    }

    private static void WriteStatus(HttpContext http, GrpcStatus status)
    {
        IHeaderDictionary headers = http.Response.Headers;
        bool started = http.Response.HasStarted;
        if (!started)
        {
            http.Response.ContentType = GrpcMetadata.ContentType;
            if (status.Code == GrpcStatusCode.Unimplemented) { headers[GrpcMetadata.AcceptEncoding] = "identity"; }
        }
        Set(GrpcMetadata.Status, GrpcMetadata.Number(status.Code));
        if (status.Message.Length > 0) { Set(GrpcMetadata.Message, GrpcText.Encode(status.Message)); }

        void Set(string name, string value)
        {
            if (started) { http.Response.AppendTrailer(name, value); }
            else { headers[name] = value; }
        }
    }

    [LoggerMessage(1, LogLevel.Error, "gRPC handler failed\tmethod={Method}")]
    private static partial void HandlerFailed(ILogger log, Exception exception, string method);
}
