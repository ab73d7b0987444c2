using System.Net;

using VmSidecar.Wire.Grpc;

namespace VmSidecar.Grpc;

/// <summary>Calls to one remote over HTTP/2. A channel holds at most one connection; dispose closes it. Thin transport on SocketsHttpHandler: frames in, frames out.</summary>
internal sealed class GrpcChannel : IAsyncDisposable
{
    private readonly GrpcConnector _connector;
    private readonly HttpMessageInvoker _http;
    private readonly string _base;
    private readonly string _authority;

    public GrpcChannel(GrpcChannelOptions options)
    {
        Options = options;
        _connector = new GrpcConnector(options);
        _http = new HttpMessageInvoker(Handler(), disposeHandler: true);
        // The connector knows where to go; the address in the URI is never used, only its scheme and path are sent.
        _base = options.Tls is null ? "http://grpc.invalid" : "https://grpc.invalid";
        _authority = options.Authority ?? (options.Target.StartsWith("unix:", StringComparison.Ordinal) ? "localhost" : options.Target);
    }

    /// <summary>The options the channel was made with.</summary>
    public GrpcChannelOptions Options { get; }

    /// <summary>
    /// Opens a bidirectional call. Returns when the connection is up and the stream exists; it does not wait for response
    /// headers (istiod sends none before its first message). Throws <see cref="GrpcException"/> (UNAVAILABLE and why: DNS, TCP, TLS) when there is no connection.
    /// </summary>
    public async Task<IGrpcClientCall> OpenAsync(string method, IReadOnlyList<KeyValuePair<string, string>> metadata, CancellationToken stop)
    {
        stop.ThrowIfCancellationRequested();
        var content = new GrpcRequestContent();
        var request = new HttpRequestMessage(HttpMethod.Post, new Uri(_base + method))
        {
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Content = content,
        };
        try { request.Headers.Host = _authority; }
        catch (FormatException e) { throw new GrpcException(new GrpcStatus(GrpcStatusCode.Unavailable, $"connection error: '{_authority}' is not host:port"), e); }
        request.Headers.TryAddWithoutValidation("te", "trailers");
        request.Headers.TryAddWithoutValidation(GrpcMetadata.AcceptEncoding, "identity");
        foreach ((string name, string value) in metadata) { request.Headers.TryAddWithoutValidation(name, value); }
        request.Headers.TryAddWithoutValidation("user-agent", GrpcMetadata.UserAgent); // after the caller's own, as gRPC libraries do
        var call = new GrpcClientCall(request, content, Options, _connector);
        try
        {
            await call.OpenAsync(_http, stop);
            return call;
        }
        catch
        {
            await call.DisposeAsync();
            throw;
        }
    }

    /// <summary>One request, one response, within a deadline (sent as grpc-timeout and enforced here). Throws <see cref="GrpcException"/> on any status but OK.</summary>
    public async Task<GrpcMessage> UnaryAsync(string method, ReadOnlyMemory<byte> request, IReadOnlyList<KeyValuePair<string, string>> metadata, TimeSpan deadline, CancellationToken stop)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(stop);
        limit.CancelAfter(deadline);
        try
        {
            await using IGrpcClientCall call = await OpenAsync(method, [.. metadata, new(GrpcMetadata.Timeout, GrpcTimeout.Format(deadline))], limit.Token);
            await SendOnlyAsync(call, request, limit.Token);
            return await ReadOnlyAsync(call, limit.Token);
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            throw new GrpcException(new GrpcStatus(GrpcStatusCode.DeadlineExceeded, "context deadline exceeded"));
        }
    }

    public ValueTask DisposeAsync()
    {
        _http.Dispose();
        _connector.Dispose();
        return ValueTask.CompletedTask;
    }

    private static async Task SendOnlyAsync(IGrpcClientCall call, ReadOnlyMemory<byte> request, CancellationToken stop)
    {
        try
        {
            await call.SendAsync(request, stop);
            await call.CompleteAsync(stop);
        }
        catch (GrpcException) { } // the server has already answered, often why it will not listen: reading tells
    }

    private static async Task<GrpcMessage> ReadOnlyAsync(IGrpcClientCall call, CancellationToken stop)
    {
        GrpcMessage? answer = await call.ReadAsync(stop);
        try
        {
            using GrpcMessage? second = answer is null ? null : await call.ReadAsync(stop);
            if (second is not null) { throw new GrpcException(new GrpcStatus(GrpcStatusCode.Internal, "more than one message in answer to a unary call")); }
            if (!call.Status.IsOk) { throw new GrpcException(call.Status) { IsTransport = call.EndedByTransport }; }
            if (answer is null) { throw new GrpcException(new GrpcStatus(GrpcStatusCode.Internal, "no message in answer to a unary call")); }
            return answer;
        }
        catch
        {
            answer?.Dispose();
            throw;
        }
    }

    private SocketsHttpHandler Handler() => new()
    {
        ConnectCallback = (_, stop) => _connector.ConnectAsync(stop),
        EnableMultipleHttp2Connections = false,
        InitialHttp2StreamWindowSize = 1024 * 1024, // what the classic agent grants; it grows with the link
        KeepAlivePingDelay = Options.KeepAliveInterval,
        KeepAlivePingTimeout = Options.KeepAliveTimeout,
        KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests,
        ConnectTimeout = Timeout.InfiniteTimeSpan, // the connector's own limit also names the step
        PooledConnectionLifetime = Timeout.InfiniteTimeSpan,
        UseProxy = false,
        UseCookies = false,
        AllowAutoRedirect = false,
        AutomaticDecompression = DecompressionMethods.None,
        ActivityHeadersPropagator = null,
    };
}
