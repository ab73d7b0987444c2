namespace VmSidecar.Grpc;

/// <summary>gRPC status codes (gRPC "Status codes and their use").</summary>
internal enum GrpcStatusCode
{
    OK = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

/// <summary>How a call ended: the code and the decoded (not percent-encoded) message.</summary>
internal readonly record struct GrpcStatus(GrpcStatusCode Code, string Message)
{
    /// <summary>The good end.</summary>
    public static GrpcStatus Ok => new(GrpcStatusCode.OK, "");

    /// <summary>True for the good end.</summary>
    public bool IsOk => Code == GrpcStatusCode.OK;

    /// <summary>The form the classic agent logs: <c>rpc error: code = C desc = M</c>.</summary>
    public override string ToString() => $"rpc error: code = {Code} desc = {Message}";
}

/// <summary>A call that could not be made or ended badly where the caller wanted a value.</summary>
internal sealed class GrpcException(GrpcStatus status, Exception? cause = null) : Exception(status.ToString(), cause)
{
    /// <summary>How the call ended.</summary>
    public GrpcStatus Status { get; } = status;

    /// <summary>True when no peer said so: the connection could not be made, or died.</summary>
    public bool IsTransport { get; init; }

    /// <summary>True when no call could be tried: what it needs on our side (roots, keys) cannot be used.</summary>
    public bool IsOurs { get; init; }
}
