using VmSidecar.Grpc;

namespace VmSidecar.Identity;

/// <summary>What was being done when signing failed, and whose side failed.</summary>
internal enum CaFailureReason
{
    /// <summary>No connection: name, route, TCP.</summary>
    Unreachable,

    /// <summary>The peer is not istiod as far as the roots tell.</summary>
    NotTrusted,

    /// <summary>The connection died before an answer while our certificate was presented.</summary>
    CertificateRefused,

    /// <summary>No credential istiod accepts.</summary>
    Unauthenticated,

    /// <summary>The CA is there but cannot sign now.</summary>
    Busy,

    /// <summary>No answer in time.</summary>
    Timeout,

    /// <summary>The CA says the request itself is wrong.</summary>
    Rejected,

    /// <summary>The answer does not hold up: wrong key, wrong name, expired, chain broken.</summary>
    BadAnswer,
}

/// <summary>Why there is no certificate. Made by <see cref="From"/> only, nobody else looks at status codes.</summary>
/// <param name="Reason">Act and side.</param>
/// <param name="Status">As it came.</param>
/// <param name="MayRetrySoon">Worth another attempt within the same operation, as the classic agent's list says.</param>
internal sealed record CaFailure(CaFailureReason Reason, GrpcStatus Status, bool MayRetrySoon)
{
    /// <summary>Classifies the end of one attempt.</summary>
    public static CaFailure From(GrpcException failure, bool presentedCertificate) => failure.Status.Code switch
    {
        GrpcStatusCode.Unavailable when failure.Status.Message.Contains("istiod is not trusted", StringComparison.Ordinal)
            || failure.Status.Message.Contains("missing a root certificate", StringComparison.Ordinal) => new(CaFailureReason.NotTrusted, failure.Status, false),
        // A refused name, port or route fails while connecting; what dies later, with our certificate shown, may have died of it.
        GrpcStatusCode.Unavailable when presentedCertificate && failure.IsTransport && !IsBeforeCredentials(failure.Status.Message) => new(CaFailureReason.CertificateRefused, failure.Status, true),
        GrpcStatusCode.Unavailable => new(failure.IsTransport ? CaFailureReason.Unreachable : CaFailureReason.Busy, failure.Status, true),
        GrpcStatusCode.Unauthenticated or GrpcStatusCode.PermissionDenied => new(CaFailureReason.Unauthenticated, failure.Status, false),
        GrpcStatusCode.ResourceExhausted or GrpcStatusCode.Aborted or GrpcStatusCode.Internal => new(CaFailureReason.Busy, failure.Status, true),
        GrpcStatusCode.DeadlineExceeded => new(CaFailureReason.Timeout, failure.Status, false),
        _ => new(CaFailureReason.Rejected, failure.Status, false),
    };

    /// <summary>An answer that came but cannot be used.</summary>
    public static CaFailure BadAnswer(string problem) => new(CaFailureReason.BadAnswer, new GrpcStatus(GrpcStatusCode.Internal, problem), false);

    /// <summary>True when a connection failed before any credential of ours could matter: name, route, port, or a peer that is not istiod.</summary>
    public static bool IsBeforeCredentials(string message) =>
        message.Contains("istiod is not trusted", StringComparison.Ordinal) || message.Contains("missing a root certificate", StringComparison.Ordinal)
        || message.Contains("resolving the name", StringComparison.Ordinal) || message.Contains("cannot be resolved", StringComparison.Ordinal) || message.Contains("connecting to", StringComparison.Ordinal);
}
