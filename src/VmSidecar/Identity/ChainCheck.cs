using System.Security.Cryptography.X509Certificates;

using VmSidecar.Configuration;

namespace VmSidecar.Identity;

/// <summary>Pure: whether an answer of the CA may replace what is served now. The classic agent checks nothing; a wrong answer then breaks the VM at the next handshake.</summary>
internal static class ChainCheck
{
    /// <summary>Null when good, else the reason.</summary>
    /// <param name="elements">As the CA sent them: leaf first, roots last.</param>
    /// <param name="matches">Whether the leaf was issued for the key of the request.</param>
    /// <param name="options">Who this VM is.</param>
    /// <param name="now">This host's clock.</param>
    public static string? Refuse(IReadOnlyList<string> elements, Func<X509Certificate2, bool> matches, IdentityOptions options, DateTimeOffset now)
    {
        X509Certificate2Collection chain = PemBundle.Read(PemBundle.Concatenate(elements), out int broken);
        X509Certificate2Collection roots = PemBundle.Read(elements[^1], out _);
        if (chain.Count == 0 || broken > 0) { return "failed to extract expire time from server certificate in CSR response: a certificate in it does not parse"; }
        if (roots.Count == 0) { return "the last element of the chain holds no root certificate"; }
        X509Certificate2 leaf = chain[0];
        if (!matches(leaf)) { return "the certificate is for another key than the one asked for"; }
        if (SpiffeName.Of(leaf) is not { } name) { return "the certificate has no single SPIFFE name"; }
        if (options.Namespace.Length > 0 && options.ServiceAccount.Length > 0 && !SpiffeName.SameWorkload(name, options.SpiffeId))
        {
            return $"istiod issued for {name}, but this VM is {options.SpiffeId}: the token belongs to another service account. Correct POD_NAMESPACE and SERVICE_ACCOUNT, or copy the right token";
        }
        if (leaf.NotAfter.ToUniversalTime() <= now.UtcDateTime)
        {
            return $"the new certificate has ended at {leaf.NotAfter.ToUniversalTime():yyyy-MM-ddTHH:mm:ssZ}, this clock says {now.UtcDateTime:yyyy-MM-ddTHH:mm:ssZ}: the clock is ahead. Set it (timedatectl, chrony)";
        }
        return LeadsToRoot(leaf, chain, roots, now) ? null : "the certificate does not lead to the root it came with";
    }

    /// <summary>Whether a leaf leads to one of the roots, whatever the dates: those are judged apart.</summary>
    public static bool LeadsToRoot(X509Certificate2 leaf, X509Certificate2Collection sent, X509Certificate2Collection roots, DateTimeOffset now)
    {
        using var chain = new X509Chain
        {
            ChainPolicy = new X509ChainPolicy
            {
                TrustMode = X509ChainTrustMode.CustomRootTrust,
                RevocationMode = X509RevocationMode.NoCheck,
                DisableCertificateDownloads = true,
                VerificationFlags = X509VerificationFlags.AllowUnknownCertificateAuthority | X509VerificationFlags.IgnoreNotTimeValid,
                VerificationTimeIgnored = false,
                VerificationTime = now.UtcDateTime,
            },
        };
        chain.ChainPolicy.CustomTrustStore.AddRange(roots);
        chain.ChainPolicy.ExtraStore.AddRange(sent);
        return chain.Build(leaf)
            && chain.ChainElements.Any(e => roots.Any(r => r.RawDataMemory.Span.SequenceEqual(e.Certificate.RawDataMemory.Span)));
    }
}
