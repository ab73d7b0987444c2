using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

using VmSidecar.Configuration;

namespace VmSidecar.Identity;

/// <summary>A fresh private key for one signing request. Lives in memory until the answer is checked; dispose wipes it. Made by CertificateRotator, one per request.</summary>
internal sealed class KeyPair : IDisposable
{
    private readonly RSA? _rsa;
    private readonly ECDsa? _ec;

    private KeyPair(RSA? rsa, ECDsa? ec)
    {
        _rsa = rsa;
        _ec = ec;
    }

    /// <summary>SHA-384 for P-384, else SHA-256: what the classic agent signs requests with.</summary>
    private HashAlgorithmName Hash => _ec?.KeySize == 384 ? HashAlgorithmName.SHA384 : HashAlgorithmName.SHA256;

    /// <summary>Generates a key; RSA sizes below 2048 are refused by configuration before they get here.</summary>
    public static KeyPair Generate(KeyAlgorithm algorithm, int rsaBits) => algorithm switch
    {
        KeyAlgorithm.EcdsaP256 => new KeyPair(null, ECDsa.Create(ECCurve.NamedCurves.nistP256)),
        KeyAlgorithm.EcdsaP384 => new KeyPair(null, ECDsa.Create(ECCurve.NamedCurves.nistP384)),
        _ => new KeyPair(RSA.Create(rsaBits), null),
    };

    /// <summary>The key as PEM with a final line break: PKCS#1 or SEC1, or PKCS#8 when asked.</summary>
    public string ToPem(bool pkcs8)
    {
        string pem = pkcs8
            ? _rsa?.ExportPkcs8PrivateKeyPem() ?? _ec!.ExportPkcs8PrivateKeyPem()
            : _rsa?.ExportRSAPrivateKeyPem() ?? _ec!.ExportECPrivateKeyPem();
        return pem + "\n";
    }

    /// <summary>The signing request as PEM: subject <c>O=</c>, one critical SAN extension with the raw URI, nothing else (external signers refuse anything else).</summary>
    public string ToCsrPem(string spiffeId)
    {
        var request = _rsa is null
            ? new CertificateRequest(SpiffeName.EmptyOrganization, _ec!, Hash)
            : new CertificateRequest(SpiffeName.EmptyOrganization, _rsa, Hash, RSASignaturePadding.Pkcs1);
        request.CertificateExtensions.Add(SpiffeName.ToExtension(spiffeId));
        return request.CreateSigningRequestPem() + "\n";
    }

    /// <summary>True when the certificate was issued for this key.</summary>
    public bool Matches(X509Certificate2 certificate)
    {
        byte[] own = _rsa?.ExportSubjectPublicKeyInfo() ?? _ec!.ExportSubjectPublicKeyInfo();
        return certificate.PublicKey.ExportSubjectPublicKeyInfo().AsSpan().SequenceEqual(own);
    }

    public void Dispose()
    {
        _rsa?.Dispose();
        _ec?.Dispose();
    }
}
