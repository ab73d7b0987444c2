using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace VmSidecar.Identity;

/// <summary>A certificate chain and its key as they lie on disk, read and judged. Immutable; read anew at every use.</summary>
internal sealed record CertificatePair(X509Certificate2Collection Chain, string ChainPem, string KeyPem) : IDisposable
{
    /// <summary>The first certificate of the chain file.</summary>
    public X509Certificate2 Leaf => Chain[0];

    /// <summary>Start of validity.</summary>
    public DateTimeOffset NotBefore => Leaf.NotBefore.ToUniversalTime();

    /// <summary>End of validity.</summary>
    public DateTimeOffset NotAfter => Leaf.NotAfter.ToUniversalTime();

    /// <summary>Identifies the leaf in memory of refusals and in logs.</summary>
    public string Thumbprint => Leaf.GetCertHashString(HashAlgorithmName.SHA256);

    /// <summary>Reads a pair. Null and the reason when a file is missing, does not parse, or key and certificate do not belong together.</summary>
    public static CertificatePair? Load(string chainFile, string keyFile, out PairProblem problem, out string reason)
    {
        string chain, key;
        try
        {
            chain = File.ReadAllText(chainFile);
            key = File.ReadAllText(keyFile);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            problem = e is FileNotFoundException or DirectoryNotFoundException ? PairProblem.Missing : PairProblem.Unreadable;
            reason = problem == PairProblem.Missing ? $"open {(File.Exists(chainFile) ? keyFile : chainFile)}: no such file or directory" : e.Message;
            return null;
        }
        return Parse(chain, key, out problem, out reason);
    }

    /// <summary>The same for texts.</summary>
    public static CertificatePair? Parse(string chainPem, string keyPem, out PairProblem problem, out string reason)
    {
        X509Certificate2Collection chain = PemBundle.Read(chainPem, out int broken);
        problem = PairProblem.Unreadable;
        if (chain.Count == 0 || broken > 0)
        {
            reason = "the certificate chain does not parse";
            return null;
        }
        try
        {
            using var withKey = X509Certificate2.CreateFromPem(chain[0].ExportCertificatePem(), keyPem);
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException or NotSupportedException) // the last: a curve this host does not know
        {
            problem = PairProblem.Mismatched;
            reason = "key and certificate do not belong together, or the key does not parse";
            return null;
        }
        problem = PairProblem.None;
        reason = "";
        return new CertificatePair(chain, chainPem, keyPem);
    }

    /// <summary>Leaf with key for TLS. Caller disposes.</summary>
    public X509Certificate2 WithKey() => X509Certificate2.CreateFromPem(Leaf.ExportCertificatePem(), KeyPem);

    public void Dispose()
    {
        foreach (X509Certificate2 certificate in Chain) { certificate.Dispose(); }
    }
}

/// <summary>Why there is no pair.</summary>
internal enum PairProblem
{
    None,
    Missing,
    Unreadable,
    Mismatched,
}
