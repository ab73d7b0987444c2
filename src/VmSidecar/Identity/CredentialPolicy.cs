namespace VmSidecar.Identity;

/// <summary>What a token is worth as far as this host can tell.</summary>
internal enum TokenQuality
{
    None,

    /// <summary>Expired by this host's clock, which may be wrong.</summary>
    Expired,
    Good,
}

/// <summary>A client certificate as found, or why there is none.</summary>
internal readonly record struct PairOnDisk(CertificatePair? Pair, PairProblem Problem, string Reason);

/// <summary>Pure: whether a connection to istiod presents the client certificate. A certificate that istiod would refuse fails the whole handshake, even with a good token, so a doubtful one stays at home as long as a token can stand in.</summary>
internal static class CredentialPolicy
{
    /// <summary>Null: present the pair. Else why not, in the classic agent's words where it has them.</summary>
    /// <param name="disk">The pair of PROV_CERT.</param>
    /// <param name="identity">The identity this VM is configured for.</param>
    /// <param name="refused">Thumbprint of the certificate a connection died with last; null: none.</param>
    /// <param name="token">What could stand in.</param>
    /// <param name="now">This host's clock.</param>
    public static string? Withhold(PairOnDisk disk, string identity, string? refused, TokenQuality token, DateTimeOffset now)
    {
        if (disk.Pair is not { } pair)
        {
            return disk.Problem == PairProblem.Missing
                ? $"cannot parse the cert chain, using token instead: failed to read the cert, error is {disk.Reason}"
                : $"cannot parse the cert chain, using token instead: {disk.Reason}";
        }
        if (SpiffeName.Of(pair.Leaf) is not { } name) { return "the client certificate has no single SPIFFE name, using token instead"; }
        if (!SpiffeName.SameWorkload(name, identity)) { return $"the client certificate is for {name} but this VM is {identity}, using token instead. Remove the old certificate, or correct POD_NAMESPACE and SERVICE_ACCOUNT"; }
        if (token == TokenQuality.None) { return null; } // nothing to lose
        if (refused == pair.Thumbprint) { return "istiod refused the client certificate, using token instead"; }
        return pair.NotAfter <= now && token == TokenQuality.Good ? "cert expired, using token instead" : null;
    }

    /// <summary>A text that is no JWT may still be good for some other authenticator of the mesh.</summary>
    public static TokenQuality Judge(string? token, DateTimeOffset now)
    {
        if (token is null) { return TokenQuality.None; }
        return TokenClaims.TryParse(token, out TokenClaims? claims) && claims.Expires <= now ? TokenQuality.Expired : TokenQuality.Good;
    }
}
