using System.Net;
using System.Net.Http.Headers;

using VmSidecar.Linux.Sockets;

namespace VmSidecar.Grpc;

/// <summary>
/// One call over HttpClient. Reading: (1) response headers, which a server may hold back until its first message, (2) frames,
/// (3) trailers. Whatever goes wrong becomes <see cref="Status"/>; the first end wins. Owned by the caller of <see cref="GrpcChannel.OpenAsync"/>.
/// </summary>
internal sealed class GrpcClientCall(HttpRequestMessage request, GrpcRequestContent content, GrpcChannelOptions options, GrpcConnector connector) : IGrpcClientCall
{
    private readonly CancellationTokenSource _reset = new(); // ends the call from our side
    private readonly Lock _gate = new();                     // guards _end
    private Task<HttpResponseMessage>? _response;
    private GrpcFrameReader? _reader;
    private HttpResponseMessage? _received;
    private GrpcEnd? _end;
    private bool _disposed;

    public GrpcStatus Status => End.Status;

    public bool EndedGracefully => End.Graceful;

    public bool EndedByTransport => End.IsTransport;

    public Task PeerLeaves => connector.Leaving;

    private GrpcEnd End { get { lock (_gate) { return _end ?? throw new InvalidOperationException("the call has not ended"); } } }

    /// <summary>Sends the headers; returns when the stream exists. Throws <see cref="GrpcException"/> when there is no connection.</summary>
    public async Task OpenAsync(HttpMessageInvoker http, CancellationToken stop)
    {
        _response = http.SendAsync(request, _reset.Token);
        using CancellationTokenRegistration cancel = stop.UnsafeRegister(static s => ((CancellationTokenSource)s!).Cancel(), _reset);
        await Task.WhenAny(content.Opened, _response);
        if (content.Opened.IsCompletedSuccessfully) { return; }
        try
        {
            await _response;
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { throw; }
        catch (Exception e) when (IsTransport(e)) { throw Failed(GrpcFailure.From(e, connector.Goodbye), e); }
    }

    public async ValueTask<GrpcMessage?> ReadAsync(CancellationToken stop)
    {
        if (await BeginReadAsync(stop) < 0) { return null; }
        try
        {
            return await _reader!.ReadAsync(stop);
        }
        catch (Exception e) when (IsEnd(e, stop))
        {
            FinishWith(e);
            return null;
        }
    }

    public async ValueTask<int> BeginReadAsync(CancellationToken stop)
    {
        try
        {
            if (Ended) { return -1; }
            _reader ??= await ReadHeadersAsync(stop); // 1
            if (_reader is null) { return -1; }
            int length = await _reader.BeginAsync(stop); // 2
            if (length < 0) { TakeTrailers(); } // 3
            return length;
        }
        catch (Exception e) when (IsEnd(e, stop))
        {
            FinishWith(e);
            return -1;
        }
    }

    public async ValueTask<int> ReadPieceAsync(Memory<byte> buffer, CancellationToken stop)
    {
        try
        {
            return await _reader!.ReadPieceAsync(buffer, stop);
        }
        catch (Exception e) when (IsEnd(e, stop))
        {
            FinishWith(e);
            return 0;
        }
    }

    public async ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken stop)
    {
        if (Ended) { throw new GrpcException(Status); }
        try
        {
            await content.WriteAsync(message, stop);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            await _reset.CancelAsync(); // half a frame may be out: the stream is of no use any more
            throw;
        }
        catch (Exception e) when (IsTransport(e))
        {
            throw Failed(_reset.IsCancellationRequested ? Cancelled : GrpcFailure.From(e, connector.Goodbye), e);
        }
    }

    public ValueTask CompleteAsync(CancellationToken stop)
    {
        stop.ThrowIfCancellationRequested();
        content.Complete();
        return ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        if (_disposed) { return; }
        _disposed = true;
        lock (_gate) { _end ??= Cancelled; }
        await _reset.CancelAsync(); // before the headers came: RST_STREAM
        content.Abort();            // not half-closed: a reset, so that the server sees a cancellation and not a good end
        if (_response is not null)
        {
            try { (await _response).Dispose(); } // after: closing the response resets the stream
            catch (Exception e) when (IsTransport(e)) { }
        }
        request.Dispose();
        _reader?.Dispose();
        _reset.Dispose();
    }

    private static GrpcException Failed(GrpcEnd end, Exception cause) => new(end.Status, cause) { IsTransport = end.IsTransport, IsOurs = end.IsOurs };

    private static GrpcEnd Cancelled => new(new GrpcStatus(GrpcStatusCode.Cancelled, "the call was cancelled"), Graceful: true);

    private bool Ended { get { lock (_gate) { return _end is not null; } } }

    private async ValueTask<GrpcFrameReader?> ReadHeadersAsync(CancellationToken stop)
    {
        _received = await _response!.WaitAsync(stop);
        HttpResponseHeaders headers = _received.Headers;
        if (headers.Date is { } date) { options.OnDate?.Invoke(date); }
        if (GrpcMetadata.ReadStatus(First(headers, GrpcMetadata.Status), First(headers, GrpcMetadata.Message)) is { } status)
        {
            Finish(FromPeer(status)); // trailers-only
            return null;
        }
        if (_received.StatusCode != HttpStatusCode.OK)
        {
            Finish(new GrpcEnd(GrpcFailure.FromHttp(_received.StatusCode), Graceful: false));
            return null;
        }
        string? contentType = First(_received.Content.Headers, "Content-Type");
        if (!GrpcMetadata.IsGrpc(contentType))
        {
            Finish(new GrpcEnd(new GrpcStatus(GrpcStatusCode.Unknown, $"the answer is not gRPC: content-type '{contentType}'"), Graceful: false));
            return null;
        }
        Stream body = await _received.Content.ReadAsStreamAsync(stop);
        return new GrpcFrameReader(body, options.MaxReceive, GrpcStatusCode.Internal, First(headers, GrpcMetadata.Encoding));
    }

    private void TakeTrailers()
    {
        HttpResponseHeaders trailers = _received!.TrailingHeaders;
        Finish(GrpcMetadata.ReadStatus(First(trailers, GrpcMetadata.Status), First(trailers, GrpcMetadata.Message)) is { } status
            ? FromPeer(status)
            : new GrpcEnd(new GrpcStatus(GrpcStatusCode.Internal, "server closed the stream without sending trailers"), Graceful: false));
    }

    // A server that goes away in order (GOAWAY NO_ERROR, later the end of its streams) may end them with UNAVAILABLE or CANCELLED.
    private GrpcEnd FromPeer(GrpcStatus status) => new(
        status,
        status.Code is GrpcStatusCode.OK or GrpcStatusCode.Cancelled or GrpcStatusCode.DeadlineExceeded
            || (status.Code == GrpcStatusCode.Unavailable && connector.Goodbye.GoAway == 0));

    // The caller's own cancellation is the caller's; everything else is how the call ended.
    private bool IsEnd(Exception e, CancellationToken stop) =>
        IsTransport(e) && !(e is OperationCanceledException && stop.IsCancellationRequested && !_reset.IsCancellationRequested);

    private void FinishWith(Exception e) => Finish(_reset.IsCancellationRequested ? Cancelled : GrpcFailure.From(e, connector.Goodbye));

    private void Finish(GrpcEnd end)
    {
        lock (_gate) { _end ??= end; }
        content.Complete(); // nothing more to send; the request half must not outlive the call
    }

    private static string? First(HttpHeaders headers, string name) =>
        headers.NonValidated.TryGetValues(name, out HeaderStringValues values) && values.Count > 0 ? values.First() : null;

    private static bool IsTransport(Exception e) =>
        PeerFailure.Is(e) || e is OperationCanceledException or GrpcException or ObjectDisposedException or InvalidOperationException;
}
