using System.Globalization;
using System.IO.Pipelines;
using System.Security.Cryptography.X509Certificates;

using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;

using VmSidecar.Linux.Processes;
using VmSidecar.Wire.Grpc;

namespace VmSidecar.Grpc;

/// <summary>The server's side of one call over one Kestrel request. Response headers leave with the first message or the status. Owned by <see cref="GrpcServer"/>.</summary>
internal sealed class GrpcServerCall(HttpContext http, int maxReceive, ReceiveBudget budget) : IGrpcServerCall, IDisposable
{
    // A large message goes out in pieces, each awaited, so that a slow client holds one piece and not the message.
    private const int Piece = 256 * 1024;

    private int _owed; // bytes of the message begun that have not been handed to Kestrel

    private readonly GrpcFrameReader _reader = new(http.Request.Body, maxReceive, GrpcStatusCode.Unimplemented, http.Request.Headers[GrpcMetadata.Encoding], budget);

    public string Method => http.Request.Path.Value ?? "";

    public X509Certificate2? ClientCertificate => http.Connection.ClientCertificate;

    public string Peer { get; } = http.Connection.RemoteIpAddress is { } address
        ? string.Create(CultureInfo.InvariantCulture, $"{(address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6 ? $"[{address}]" : address)}:{http.Connection.RemotePort}")
        : "";

    public PeerProcess Process => http.Features.Get<IConnectionSocketFeature>() is { } connection ? PeerProcess.Of(connection.Socket) : default;

    public void Goodbye() => http.Features.Get<IConnectionLifetimeNotificationFeature>()?.RequestClose();

    public string? Metadata(string name) => http.Request.Headers.TryGetValue(name, out Microsoft.Extensions.Primitives.StringValues values) ? values[0] : null;

    public IReadOnlyList<string> MetadataAll(string name) => [.. http.Request.Headers[name].OfType<string>()];

    public async ValueTask<GrpcMessage?> ReadAsync(CancellationToken stop)
    {
        try { return await _reader.ReadAsync(stop); }
        catch (Exception e) when (IsGone(e, stop)) { throw Gone(e); }
    }

    public async ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken stop)
    {
        await BeginSendAsync(message.Length, stop);
        if (!message.IsEmpty) { await SendPieceAsync(message, stop); }
    }

    public async ValueTask BeginSendAsync(int length, CancellationToken stop)
    {
        stop.ThrowIfCancellationRequested(); // nothing of the message is out
        try
        {
            PipeWriter output = http.Response.BodyWriter;
            if (!http.Response.HasStarted) { http.Response.ContentType = GrpcMetadata.ContentType; }
            GrpcFrame.WritePrefix(output.GetSpan(GrpcFrame.PrefixLength), length);
            output.Advance(GrpcFrame.PrefixLength);
            _owed = length;
            // Kestrel reports a write of nothing as the end of the call: an empty message is only its prefix, flushed
            if (length == 0) { await FlushedAsync(output.FlushAsync(CancellationToken.None), stop); }
        }
        catch (Exception e) when (IsGone(e, stop)) { throw Gone(e); }
    }

    public async ValueTask SendPieceAsync(ReadOnlyMemory<byte> piece, CancellationToken stop)
    {
        try
        {
            while (!piece.IsEmpty)
            {
                int length = Math.Min(piece.Length, Piece);
                _owed -= length;
                // Never with the token: Kestrel resets a call whose write was cancelled, though all of the message may be out.
                await FlushedAsync(http.Response.BodyWriter.WriteAsync(piece[..length], CancellationToken.None), stop);
                piece = piece[length..];
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            Abandon(); // half a frame may be out
            throw;
        }
        catch (Exception e) when (IsGone(e, stop)) { throw Gone(e); }
    }

    /// <summary>True after <see cref="Abandon"/>: there is nobody to tell the status.</summary>
    public bool IsAbandoned { get; private set; }

    public void Abandon()
    {
        IsAbandoned = true;
        http.Abort();
    }

    public void Dispose() => _reader.Dispose();

    /// <summary>Waits until flow control has taken what was written. A stop ends the wait: a whole message is left to Kestrel, which sends it before the status; half of one is not.</summary>
    private async ValueTask FlushedAsync(ValueTask<FlushResult> flush, CancellationToken stop)
    {
        FlushResult flushed;
        using (flush.IsCompleted ? default : stop.UnsafeRegister(static output => ((PipeWriter)output!).CancelPendingFlush(), http.Response.BodyWriter)) { flushed = await flush; }
        if (flushed.IsCompleted || http.RequestAborted.IsCancellationRequested) { throw Gone(null); }
        if (_owed > 0) { stop.ThrowIfCancellationRequested(); }
        if (flushed.IsCanceled && !stop.IsCancellationRequested) { throw Gone(null); }
    }

    private bool IsGone(Exception e, CancellationToken stop) =>
        e is IOException || (e is OperationCanceledException && !stop.IsCancellationRequested)
        || (e is InvalidOperationException && http.RequestAborted.IsCancellationRequested);

    private static GrpcException Gone(Exception? cause) => new(new GrpcStatus(GrpcStatusCode.Cancelled, "the client has gone"), cause);
}
