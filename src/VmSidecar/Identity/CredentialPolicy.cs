namespace VmSidecar.Identity;

/// <summary>Pure: whether a connection to istiod presents the client certificate. A certificate that istiod would refuse fails the whole handshake, even with a good token, so a doubtful one stays at home as long as there is a token.</summary>
internal static class CredentialPolicy
{
    /// <summary>Null: present the pair. Else why not, in the classic agent's words where it has them.</summary>
    /// <param name="pair">The pair on disk; null when there is none.</param>
    /// <param name="problem">Why there is none.</param>
    /// <param name="reason">The same in words.</param>
    /// <param name="identity">The identity this VM is configured for.</param>
    /// <param name="refused">Thumbprint of the certificate istiod refused last; null: none.</param>
    /// <param name="hasToken">Whether a token could stand in. Without one a doubtful certificate is better than nothing.</param>
    /// <param name="now">This host's clock, which may be wrong.</param>
    public static string? Withhold(CertificatePair? pair, PairProblem problem, string reason, string identity, string? refused, bool hasToken, DateTimeOffset now)
    {
        if (pair is null)
        {
            return problem == PairProblem.Missing
                ? $"cannot parse the cert chain, using token instead: failed to read the cert, error is {reason}"
                : $"cannot parse the cert chain, using token instead: {reason}";
        }
        if (SpiffeName.Of(pair.Leaf) is not { } name) { return "the client certificate has no single SPIFFE name, using token instead"; }
        if (!SpiffeName.SameWorkload(name, identity)) { return $"the client certificate is for {name} but this VM is {identity}, using token instead. Remove the old certificate, or correct POD_NAMESPACE and SERVICE_ACCOUNT"; }
        if (!hasToken) { return null; }
        if (pair.NotAfter <= now) { return "cert expired, using token instead"; }
        return refused == pair.Thumbprint ? "istiod refused the client certificate, using token instead" : null;
    }
}
