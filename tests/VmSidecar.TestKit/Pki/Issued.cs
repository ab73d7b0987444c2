using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

namespace VmSidecar.TestKit.Pki;

/// <summary>A certificate with its key, as PEM and as objects. <paramref name="Elements"/> is the chain as istiod returns it: leaf first, roots last.</summary>
internal sealed record Issued(X509Certificate2 Certificate, X509Certificate2Collection Intermediates, IReadOnlyList<string> Elements, string KeyPem)
{
    /// <summary>All elements in one text: what an agent writes to cert-chain.pem.</summary>
    public string ChainPem => string.Concat(Elements.Select(e => e.EndsWith('\n') ? e : e + "\n"));

    /// <summary>Leaf and intermediates for a TLS server or client; nothing is downloaded.</summary>
    public SslStreamCertificateContext TlsContext() => SslStreamCertificateContext.Create(Certificate, Intermediates, offline: true);

    /// <summary>Writes cert-chain.pem, key.pem and root-cert.pem into <paramref name="folder"/>.</summary>
    public void WriteTo(string folder)
    {
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "cert-chain.pem"), ChainPem);
        File.WriteAllText(Path.Combine(folder, "key.pem"), KeyPem);
        File.WriteAllText(Path.Combine(folder, "root-cert.pem"), Elements[^1]);
    }
}
