using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace VmSidecar.Identity;

/// <summary>
/// Decides whether a server's certificate is good, as Go's verifier does for the classic agent: every certificate of the root file is an
/// anchor, self-signed or not; names come from SANs only; serverAuth is required; nothing is downloaded, nothing revoked.
/// </summary>
/// <param name="anchors">The anchors; null: the store of the operating system.</param>
/// <param name="clockTolerance">How far in the future a NotBefore may lie: 1.10 back-dates by one second only.</param>
internal sealed class TrustAnchors(X509Certificate2Collection? anchors, TimeSpan clockTolerance)
{
    private const string ServerAuth = "1.3.6.1.5.5.7.3.1";

    // On the anchor these say only that its own issuer is not at hand, which does not matter.
    private const X509ChainStatusFlags NoIssuer = X509ChainStatusFlags.PartialChain | X509ChainStatusFlags.UntrustedRoot;

    /// <summary>Reads a root file. Null and the reason when there is no usable certificate in it.</summary>
    public static TrustAnchors? Load(string? file, IEnumerable<string> more, TimeSpan clockTolerance, out string problem)
    {
        problem = "";
        if (file is null) { return new TrustAnchors(null, clockTolerance); }
        string text = "";
        try { text = File.ReadAllText(file); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { problem = $"root certificate {file} cannot be read: {e.Message}"; }
        X509Certificate2Collection found = PemBundle.Read(text, out int broken);
        foreach (string bundle in more) { found.AddRange(PemBundle.Read(bundle, out _)); }
        if (found.Count > 0) { return new TrustAnchors(found, clockTolerance); }
        if (problem.Length == 0) { problem = broken > 0 ? $"root certificate {file} holds no certificate that can be parsed" : $"root certificate {file} holds no certificate"; }
        return null;
    }

    /// <summary>Null when the peer may be trusted as <paramref name="name"/> (DNS name or IP address), else the reason in words.</summary>
    public string? Refuse(X509Certificate2 server, X509Certificate2Collection sent, string name, DateTimeOffset now)
    {
        if (!server.MatchesHostname(name, allowWildcards: true, allowCommonName: false)) { return $"its certificate is for {NamesOf(server)}, not for {name}"; }
        string? problem = RefuseChain(server, sent, now, out bool early);
        if (problem is null || !early) { return problem; }
        return RefuseChain(server, sent, now + clockTolerance, out _) is null
            ? null
            : $"{problem}; this clock says {now.UtcDateTime:yyyy-MM-ddTHH:mm:ssZ} and is behind by at least {Math.Ceiling((server.NotBefore.ToUniversalTime() - now.UtcDateTime).TotalSeconds):0} s, or the server's is ahead";
    }

    private string? RefuseChain(X509Certificate2 server, X509Certificate2Collection sent, DateTimeOffset now, out bool early)
    {
        using var chain = new X509Chain { ChainPolicy = Policy(sent, now) };
        bool built = chain.Build(server);
        early = false;
        if (anchors is null) { return built ? null : Words(chain.ChainStatus.Aggregate(X509ChainStatusFlags.NoError, (sum, s) => sum | s.Status), server, now, out early); }
        foreach (X509ChainElement element in chain.ChainElements)
        {
            X509ChainStatusFlags flags = element.ChainElementStatus.Aggregate(X509ChainStatusFlags.NoError, (sum, s) => sum | s.Status);
            bool anchor = anchors.Any(a => a.RawDataMemory.Span.SequenceEqual(element.Certificate.RawDataMemory.Span));
            if (anchor)
            {
                flags &= ~NoIssuer;
                // OpenSSL skips the dates of an anchor that is not self-signed.
                if (now.UtcDateTime > element.Certificate.NotAfter.ToUniversalTime()) { return $"the trusted root {element.Certificate.Subject} has expired at {element.Certificate.NotAfter.ToUniversalTime():yyyy-MM-ddTHH:mm:ssZ}"; }
            }
            if (flags != X509ChainStatusFlags.NoError && (flags & ~NoIssuer) != X509ChainStatusFlags.NoError) { return Words(flags, element.Certificate, now, out early); }
            if (anchor) { return null; }
        }
        return $"its certificate (issuer {server.Issuer}) does not lead to any of the {anchors.Count} trusted roots";
    }

    private X509ChainPolicy Policy(X509Certificate2Collection sent, DateTimeOffset now)
    {
        var policy = new X509ChainPolicy
        {
            RevocationMode = X509RevocationMode.NoCheck,
            DisableCertificateDownloads = true,
            VerificationTimeIgnored = false,
            VerificationTime = now.UtcDateTime,
            VerificationFlags = anchors is null ? X509VerificationFlags.NoFlag : X509VerificationFlags.AllowUnknownCertificateAuthority,
            TrustMode = anchors is null ? X509ChainTrustMode.System : X509ChainTrustMode.CustomRootTrust,
        };
        if (anchors is not null) { policy.CustomTrustStore.AddRange(anchors); }
        policy.ExtraStore.AddRange(sent);
        policy.ApplicationPolicy.Add(new Oid(ServerAuth));
        return policy;
    }

    private static string Words(X509ChainStatusFlags flags, X509Certificate2 certificate, DateTimeOffset now, out bool early)
    {
        early = flags.HasFlag(X509ChainStatusFlags.NotTimeValid) && now.UtcDateTime < certificate.NotBefore.ToUniversalTime();
        if (early) { return $"its certificate is not valid before {certificate.NotBefore.ToUniversalTime():yyyy-MM-ddTHH:mm:ssZ}"; }
        if (flags.HasFlag(X509ChainStatusFlags.NotTimeValid)) { return $"its certificate has expired at {certificate.NotAfter.ToUniversalTime():yyyy-MM-ddTHH:mm:ssZ}; this clock says {now.UtcDateTime:yyyy-MM-ddTHH:mm:ssZ}"; }
        return flags.HasFlag(X509ChainStatusFlags.NotValidForUsage) ? "its certificate is not for servers (no serverAuth in its extended key usage)" : $"its certificate does not verify: {flags}";
    }

    private static string NamesOf(X509Certificate2 certificate)
    {
        X509SubjectAlternativeNameExtension? san = certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>().FirstOrDefault();
        string[] names = san is null ? [] : [.. san.EnumerateDnsNames(), .. san.EnumerateIPAddresses().Select(a => a.ToString())];
        return names.Length == 0 ? "no DNS name or address at all" : string.Join(", ", names);
    }
}
