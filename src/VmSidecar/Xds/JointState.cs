namespace VmSidecar.Xds;

/// <summary>How far Envoy's stream is. Published by <see cref="XdsProxy"/>; the agent's own stream follows it.</summary>
/// <param name="Phase">What there is.</param>
/// <param name="IstiodEnded">The last joint stream was ended by istiod, so the agent's own attempt waits its back-off; else it opens at once.</param>
internal sealed record JointState(JointPhase Phase, bool IstiodEnded);

/// <summary>Phases of Envoy's stream.</summary>
internal enum JointPhase
{
    /// <summary>No Envoy, or one that has not asked for anything yet.</summary>
    None,

    /// <summary>Envoy's first request is on its way: no new stream of the agent's own, an open one stays.</summary>
    Asked,

    /// <summary>istiod has answered on it: the agent's own stream ends.</summary>
    Up,
}
