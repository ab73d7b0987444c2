using System.Security.Cryptography.X509Certificates;

using VmSidecar.Linux.Processes;

namespace VmSidecar.Grpc;

/// <summary>What both ends of a call can do: read frames and write frames. One reader and one writer at a time; the two may run together.</summary>
internal interface IGrpcStream
{
    /// <summary>The next message, or null when the other side has ended its half.</summary>
    ValueTask<GrpcMessage?> ReadAsync(CancellationToken stop);

    /// <summary>Writes and flushes one message; returns when HTTP/2 flow control has taken it. Throws <see cref="GrpcException"/> when the stream has ended.</summary>
    ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken stop);
}

/// <summary>The client's side of one call. Dispose resets the stream if it has not ended.</summary>
internal interface IGrpcClientCall : IGrpcStream, IAsyncDisposable
{
    /// <summary>Waits for the next message to begin and gives its length, bytes; -1 when the call has ended. Then either <see cref="IGrpcStream.ReadAsync"/> takes it whole, or <see cref="ReadPieceAsync"/> as it arrives.</summary>
    ValueTask<int> BeginReadAsync(CancellationToken stop);

    /// <summary>The next bytes of the message begun, as many as have arrived and fit; 0 when the call has ended within it. The caller counts up to its length.</summary>
    ValueTask<int> ReadPieceAsync(Memory<byte> buffer, CancellationToken stop);

    /// <summary>Half-closes: no more messages from us.</summary>
    ValueTask CompleteAsync(CancellationToken stop);

    /// <summary>How the call ended. Valid once <see cref="IGrpcStream.ReadAsync"/> has returned null; a reset or lost connection is a status too, never an exception from ReadAsync.</summary>
    GrpcStatus Status { get; }

    /// <summary>True for an ending to expect from a peer that is well: OK, CANCELLED, a planned goodbye (GOAWAY NO_ERROR), a closed connection. Valid together with <see cref="Status"/>.</summary>
    bool EndedGracefully => Status.IsOk;

    /// <summary>Ends when the peer says that it closes the connection in order (GOAWAY NO_ERROR): what is under way goes on for a while. Valid once the call is open.</summary>
    Task PeerLeaves { get; }

    /// <summary>True when the peer did not say <see cref="Status"/>: the connection died. Valid together with it.</summary>
    bool EndedByTransport => false;
}

/// <summary>The server's side of one call. The handler's return value becomes the trailers.</summary>
internal interface IGrpcServerCall : IGrpcStream
{
    /// <summary>The path, <c>/package.Service/Method</c>.</summary>
    string Method { get; }

    /// <summary>Request metadata by lower-case name; the first value where a name repeats.</summary>
    string? Metadata(string name);

    /// <summary>All values of a request header, in order.</summary>
    IReadOnlyList<string> MetadataAll(string name);

    /// <summary>The verified client certificate, null when none was given.</summary>
    X509Certificate2? ClientCertificate { get; }

    /// <summary>Address of the peer for logs; empty for a unix socket.</summary>
    string Peer { get; }

    /// <summary>The process at the other end of a unix socket; unknown for other transports.</summary>
    PeerProcess Process => default;

    /// <summary>Begins a message of this length, bytes, that is sent in pieces. No other message can be sent before all of it is.</summary>
    ValueTask BeginSendAsync(int length, CancellationToken stop);

    /// <summary>Sends and flushes the next bytes of the message begun; the last ones end it. Throws as <see cref="IGrpcStream.SendAsync"/>.</summary>
    ValueTask SendPieceAsync(ReadOnlyMemory<byte> piece, CancellationToken stop);

    /// <summary>Resets the call: the message begun cannot be finished, and the client must not take its half for anything.</summary>
    void Abandon();

    /// <summary>Tells the peer that its connection takes no new calls (GOAWAY NO_ERROR); this call and others on it go on.</summary>
    void Goodbye() { } // nothing to say where there is no connection
}

/// <summary>Serves one call. The token fires when the client is gone or the server stops. The returned status ends the call; a thrown GrpcException does too.</summary>
internal delegate Task<GrpcStatus> GrpcHandler(IGrpcServerCall call, CancellationToken aborted);
