namespace VmSidecar.Identity;

/// <summary>Takes the mesh's trust anchors from PCDS. Implemented by <see cref="TrustBundle"/>; called by the xDS relay, one call at a time.</summary>
internal interface ITrustSink
{
    /// <summary>All anchors, PEM, as istiod lists them. Returns null when taken, else the reason for the NACK; the old anchors then stay.</summary>
    string? Accept(IReadOnlyList<string> pems);
}
