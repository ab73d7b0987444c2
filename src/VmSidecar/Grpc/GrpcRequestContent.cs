using System.Buffers;
using System.Net;

using VmSidecar.Wire.Grpc;

namespace VmSidecar.Grpc;

/// <summary>
/// The request half of a client call: hands the stream out as soon as HttpClient offers it (the connection is up, the headers are
/// flushed) and keeps it open until told. Owned by <see cref="GrpcClientCall"/>.
/// </summary>
internal sealed class GrpcRequestContent : HttpContent
{
    private readonly TaskCompletionSource<Stream> _opened = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    // Prefix and message leave together while they fit into one DATA frame: each write costs a turn of HttpClient's own writer.
    private const int OneFrame = 16 * 1024;

    private readonly byte[] _prefix = new byte[GrpcFrame.PrefixLength]; // one writer at a time

    public GrpcRequestContent() => Headers.TryAddWithoutValidation("Content-Type", GrpcMetadata.ContentType);

    /// <summary>Ends when the stream exists.</summary>
    public Task Opened => _opened.Task;

    /// <summary>Writes one message and flushes it.</summary>
    public async ValueTask WriteAsync(ReadOnlyMemory<byte> message, CancellationToken stop)
    {
        Stream stream = await _opened.Task;
        int framed = GrpcFrame.PrefixLength + message.Length;
        if (framed <= OneFrame)
        {
            byte[] frame = ArrayPool<byte>.Shared.Rent(framed);
            GrpcFrame.WritePrefix(frame, message.Length);
            message.CopyTo(frame.AsMemory(GrpcFrame.PrefixLength));
            try { await stream.WriteAsync(frame.AsMemory(0, framed), stop); }
            finally { ArrayPool<byte>.Shared.Return(frame); }
        }
        else
        {
            GrpcFrame.WritePrefix(_prefix, message.Length);
            await stream.WriteAsync(_prefix, stop);
            await stream.WriteAsync(message, stop);
        }
        await stream.FlushAsync(stop);
    }

    /// <summary>Half-closes: HttpClient sends END_STREAM.</summary>
    public void Complete() => _closed.TrySetResult();

    /// <summary>Gives the request half up: HttpClient resets the stream. Nothing happens after <see cref="Complete"/>.</summary>
    public void Abort() => _closed.TrySetException(new IOException("the call was given up"));

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
    {
        // HttpClient calls again when it would retry a refused stream on a new connection; a call is made once, its owner retries.
        if (_opened.Task.IsCompleted) { throw new GrpcException(new GrpcStatus(GrpcStatusCode.Unavailable, "the server refused the stream")); }
        try { await stream.FlushAsync(cancellationToken); } // headers must leave before the first message: a server may speak first
        catch (Exception e)
        {
            _opened.TrySetException(e); // it may have ended the call already: a sender must not wait for a stream that never comes
            _ = _opened.Task.Exception;
            throw;
        }
        _opened.TrySetResult(stream);
        try { await _closed.Task.WaitAsync(cancellationToken); }
        catch (OperationCanceledException)
        {
            // The peer reset the stream. HttpClient would report our cancellation instead; a write makes it throw the peer's reason.
            await stream.WriteAsync(_prefix, cancellationToken);
            throw;
        }
    }

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => SerializeToStreamAsync(stream, context, CancellationToken.None);

    protected override bool TryComputeLength(out long length)
    {
        length = 0;
        return false;
    }
}
