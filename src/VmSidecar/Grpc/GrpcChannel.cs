namespace VmSidecar.Grpc;

/// <summary>Calls to one remote over HTTP/2. A channel holds at most one connection; dispose closes it. Thin transport on SocketsHttpHandler: frames in, frames out.</summary>
internal sealed class GrpcChannel(GrpcChannelOptions options) : IAsyncDisposable
{
    /// <summary>The options the channel was made with.</summary>
    public GrpcChannelOptions Options { get; } = options;

    /// <summary>
    /// Opens a bidirectional call. Returns when the connection is up and the stream exists; it does not wait for response
    /// headers (istiod sends none before its first message). Throws <see cref="GrpcException"/> (UNAVAILABLE and why: DNS, TCP, TLS) when there is no connection.
    /// </summary>
    public Task<IGrpcClientCall> OpenAsync(string method, IReadOnlyList<KeyValuePair<string, string>> metadata, CancellationToken stop) =>
        throw new NotSupportedException();

    /// <summary>One request, one response, within a deadline (sent as grpc-timeout and enforced here). Throws <see cref="GrpcException"/> on any status but OK.</summary>
    public Task<GrpcMessage> UnaryAsync(string method, ReadOnlyMemory<byte> request, IReadOnlyList<KeyValuePair<string, string>> metadata, TimeSpan deadline, CancellationToken stop) =>
        throw new NotSupportedException();

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
