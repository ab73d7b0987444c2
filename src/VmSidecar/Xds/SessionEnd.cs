using VmSidecar.Grpc;

namespace VmSidecar.Xds;

/// <summary>Who ended a joint stream, and how.</summary>
internal enum SessionCause
{
    /// <summary>istiod ended it; its status goes to Envoy.</summary>
    Istiod,

    /// <summary>Sending to istiod failed.</summary>
    IstiodSend,

    /// <summary>Envoy closed, reset or went away.</summary>
    Envoy,

    /// <summary>Our own token: superseded, stopping, or the other loops have ended.</summary>
    Stopped,
}

/// <summary>The end of one loop; the first one of a session explains the session.</summary>
/// <param name="Cause">Act and side.</param>
/// <param name="Status">What Envoy gets.</param>
/// <param name="Expected">Part of normal life: logged at debug.</param>
internal readonly record struct SessionEnd(SessionCause Cause, GrpcStatus Status, bool Expected)
{
    public static SessionEnd Stopped => new(SessionCause.Stopped, GrpcStatus.Ok, Expected: true);

    /// <summary>istiod's end. Rotation of connections, restarts and clean ends are normal life.</summary>
    public static SessionEnd ByIstiod(GrpcStatus status, bool graceful) =>
        new(SessionCause.Istiod, status, graceful || status.Code is GrpcStatusCode.OK or GrpcStatusCode.Cancelled or GrpcStatusCode.DeadlineExceeded);

    /// <summary>Envoy's end.</summary>
    public static SessionEnd ByEnvoy(GrpcStatus status) =>
        new(SessionCause.Envoy, status, status.Code is GrpcStatusCode.OK or GrpcStatusCode.Cancelled or GrpcStatusCode.DeadlineExceeded);

    /// <summary>The status as the classic agent prints it: a clean end is <c>&lt;nil&gt;</c>.</summary>
    public string Said => Status.IsOk ? "<nil>" : Status.ToString();
}
