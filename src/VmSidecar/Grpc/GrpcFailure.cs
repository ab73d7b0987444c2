using System.Net;
using System.Net.Sockets;

namespace VmSidecar.Grpc;

/// <summary>Classifies what HTTP/2 or the network did to a call. Nobody else looks at HTTP codes, reset codes or exceptions of the transport.</summary>
internal static class GrpcFailure
{
    /// <summary>gRPC "HTTP to gRPC Status Code Mapping": only for answers without a grpc-status, mostly from proxies in between.</summary>
    public static GrpcStatus FromHttp(HttpStatusCode http)
    {
        GrpcStatusCode code = (int)http switch
        {
            400 => GrpcStatusCode.Internal,
            401 => GrpcStatusCode.Unauthenticated,
            403 => GrpcStatusCode.PermissionDenied,
            404 => GrpcStatusCode.Unimplemented,
            429 or 502 or 503 or 504 => GrpcStatusCode.Unavailable,
            _ => GrpcStatusCode.Unknown,
        };
        return new GrpcStatus(code, $"unexpected HTTP status code received from server: {(int)http} ({http})");
    }

    /// <summary>gRPC over HTTP/2, "Errors": RST_STREAM codes to status codes.</summary>
    public static GrpcStatus FromReset(long error)
    {
        GrpcStatusCode code = error switch
        {
            7 => GrpcStatusCode.Unavailable,        // REFUSED_STREAM
            8 => GrpcStatusCode.Cancelled,          // CANCEL
            11 => GrpcStatusCode.ResourceExhausted, // ENHANCE_YOUR_CALM
            12 => GrpcStatusCode.PermissionDenied,  // INADEQUATE_SECURITY
            5 or > 12 => GrpcStatusCode.Unknown,    // STREAM_CLOSED has no mapping, HTTP_1_1_REQUIRED and unknown ones neither
            _ => GrpcStatusCode.Internal,
        };
        return new GrpcStatus(code, $"stream terminated by RST_STREAM with error code: {Name(error)}");
    }

    /// <summary>What an exception of the transport means. <paramref name="goodbye"/> is what the peer has said on the connection.</summary>
    public static GrpcEnd From(Exception failure, PeerGoodbye goodbye)
    {
        int goAway = goodbye.GoAway;
        for (Exception? e = failure; e is not null; e = e.InnerException)
        {
            switch (e)
            {
                case GrpcException grpc: return new GrpcEnd(grpc.Status, Graceful: false) { IsTransport = grpc.Status.Code == GrpcStatusCode.Unavailable, IsOurs = grpc.IsOurs };
                case HttpProtocolException protocol when goAway >= 0 && protocol.ErrorCode == goAway: // the goodbye ended it, not a reset
                    return Lost(goAway == 0 ? "transport is closing" : $"received GOAWAY with error code: {Name(goAway)}", goAway);
                case HttpProtocolException when !goodbye.HasReset: // nobody reset the stream: HttpClient gave the connection up, mostly for want of a sign of life
                    return Lost("keepalive ping failed to receive ACK within timeout, or broken HTTP/2 frames", goAway);
                case HttpProtocolException protocol:
                    return new GrpcEnd(FromReset(protocol.ErrorCode), Graceful: protocol.ErrorCode is 0 or 8);
                case HttpIOException { HttpRequestError: HttpRequestError.ResponseEnded }:
                case HttpRequestException { HttpRequestError: HttpRequestError.ResponseEnded }:
                    return Lost("error reading from server: EOF", goAway) with { Graceful = true };
                case OperationCanceledException { InnerException: null } when goAway >= 0 || !goodbye.HasReset:
                    return Lost("transport is closing", goAway);
                case OperationCanceledException { InnerException: null }: // a reset that met the opening of the call: HttpClient only says that it gave up
                    return new GrpcEnd(FromReset(goodbye.Reset), Graceful: goodbye.Reset is 0 or 8);
                case SocketException socket:
                    return Lost($"error reading from server: {socket.SocketErrorCode}: {socket.Message}", goAway);
                default: break;
            }
        }
        return Lost($"connection lost: {Innermost(failure).Message}", goAway);
    }

    private static GrpcEnd Lost(string what, int goAway) => new(
        new GrpcStatus(GrpcStatusCode.Unavailable, goAway == 0 ? $"{what}, received prior goaway: code: NO_ERROR" : what),
        Graceful: goAway == 0) { IsTransport = true };

    private static Exception Innermost(Exception e)
    {
        while (e.InnerException is { } inner) { e = inner; }
        return e;
    }

    private static string Name(long error) => error switch // RFC 9113 §7
    {
        0 => "NO_ERROR",
        1 => "PROTOCOL_ERROR",
        2 => "INTERNAL_ERROR",
        3 => "FLOW_CONTROL_ERROR",
        4 => "SETTINGS_TIMEOUT",
        5 => "STREAM_CLOSED",
        6 => "FRAME_SIZE_ERROR",
        7 => "REFUSED_STREAM",
        8 => "CANCEL",
        9 => "COMPRESSION_ERROR",
        10 => "CONNECT_ERROR",
        11 => "ENHANCE_YOUR_CALM",
        12 => "INADEQUATE_SECURITY",
        13 => "HTTP_1_1_REQUIRED",
        _ => $"0x{error:x}",
    };
}

/// <summary>How a call ended and whether that is an ending to expect from a peer that is well (cancelled, rotated, closed): quiet in the log.</summary>
internal readonly record struct GrpcEnd(GrpcStatus Status, bool Graceful)
{
    /// <summary>True when no peer said so: the connection could not be made, or died.</summary>
    public bool IsTransport { get; init; }

    /// <summary>True when no call could be tried: what it needs on our side cannot be used.</summary>
    public bool IsOurs { get; init; }
}


/// <summary>What an HTTP/2 peer has said of the end of a connection.</summary>
/// <param name="GoAway">Error code of its GOAWAY; -1: none came.</param>
/// <param name="Reset">Error code of its latest RST_STREAM; -1: none came.</param>
internal readonly record struct PeerGoodbye(int GoAway, long Reset)
{
    /// <summary>It has reset a stream.</summary>
    public bool HasReset => Reset >= 0;
}
