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
    private readonly Lock _gate = new(); // guards the fields below
    private GrpcStatus? _said;
    private bool _saidOfJoint;
    private string _explained = "";

    /// <summary>A stream ended like this. Logs when it is a refusal that was not explained yet. Returns what an operator is to read; for a refusal with the fix.</summary>
    public string Ended(GrpcStatus status, bool joint)
    {
        if (!IsRefusal(status)) { return status.ToString(); }
        lock (_gate)
        {
            _saidOfJoint = joint || (_said == status && _saidOfJoint);
            if (_said == status) { return _explained; }
            _explained = RegistrationAdvice.For(status) ?? access.ExplainRefusal(status);
            if (!access.Tell(_explained)) { return _explained; } // another asks again, and tells if the reason has become another
            _said = status;
            XdsLog.Refused(log, address, _explained);
            return _explained;
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

    /// <summary>istiod answers: a later refusal is news again. The agent's own stream says nothing of Envoy's, which carries the registration.</summary>
    public void Welcomed(bool joint)
    {
        lock (_gate)
        {
            if (joint || !_saidOfJoint) { _said = null; }
        }
    }

    /// <summary>True where istiod was reached and said no, for a reason that an operator must mend.</summary>
    internal static bool IsRefusal(GrpcStatus status) =>
        status.Code is GrpcStatusCode.Unauthenticated or GrpcStatusCode.PermissionDenied or GrpcStatusCode.FailedPrecondition
        || (status.Code is GrpcStatusCode.Unknown or GrpcStatusCode.InvalidArgument
            && (status.Message.Contains("WorkloadEntry", StringComparison.Ordinal) || status.Message.Contains("WorkloadGroup", StringComparison.Ordinal)
                || status.Message.Contains("authentication failure", StringComparison.Ordinal) || status.Message.Contains("service node", StringComparison.Ordinal)));
}
