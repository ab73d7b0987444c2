using Microsoft.Extensions.Logging;

using VmSidecar.Grpc;
using VmSidecar.Identity;

namespace VmSidecar.Xds;

/// <summary>
/// Says why istiod refuses this VM or cannot be reached, once per change of reason and only where the CA side has not said the same: istiod itself
/// never tells (reference: the agent must read the token to say so). Owned by <see cref="XdsProxy"/>.
/// </summary>
internal sealed class RefusalReporter(IIstiodAccess access, string address, ILogger log)
{
    private readonly Lock _gate = new();
    private GrpcStatus? _said;

    /// <summary>A stream ended like this. Logs when it is a refusal that was not explained yet.</summary>
    public void Ended(GrpcStatus status)
    {
        if (!IsRefusal(status)) { return; }
        lock (_gate)
        {
            if (_said == status) { return; }
            string why = access.ExplainRefusal(status);
            if (!access.Tell(why)) { return; } // another asks again, and tells if the reason has become another
            _said = status;
            XdsLog.Refused(log, address, why);
        }
    }

    /// <summary>No stream could be opened. True when that was told now, or by the CA side.</summary>
    public bool CannotOpen(GrpcStatus status)
    {
        string why = access.ExplainRefusal(status);
        if (!access.Tell(why)) { return false; }
        XdsLog.OwnFailed(log, address, why.StartsWith(status.Message, StringComparison.Ordinal) ? $"{status}{why[status.Message.Length..]}" : status.ToString());
        return true;
    }

    /// <summary>A stream was opened and died before any answer: with TLS 1.3 a refused client certificate shows like that, and identity wants to know.</summary>
    public void DiedUnanswered(GrpcStatus status)
    {
        if (status.Code == GrpcStatusCode.Unavailable) { _ = access.ExplainRefusal(status); }
    }

    /// <summary>istiod answers: a later refusal is news again.</summary>
    public void Welcomed()
    {
        lock (_gate) { _said = null; }
    }

    /// <summary>True where istiod was reached and said no, for a reason that an operator must mend.</summary>
    internal static bool IsRefusal(GrpcStatus status) =>
        status.Code is GrpcStatusCode.Unauthenticated or GrpcStatusCode.PermissionDenied or GrpcStatusCode.FailedPrecondition
        || (status.Code is GrpcStatusCode.Unknown or GrpcStatusCode.InvalidArgument
            && (status.Message.Contains("WorkloadEntry", StringComparison.Ordinal) || status.Message.Contains("WorkloadGroup", StringComparison.Ordinal)
                || status.Message.Contains("authentication failure", StringComparison.Ordinal) || status.Message.Contains("service node", StringComparison.Ordinal)));
}
