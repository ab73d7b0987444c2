using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

using VmSidecar.TestKit.Pki;

namespace VmSidecar.TestKit.Istiod.Authentication;

/// <summary>What a registration authority demands of a CSR (istiod before an external signer).</summary>
internal static class CsrRules
{
    /// <summary>The text of every refusal.</summary>
    public const string Refusal = "CSR signing error (unable to validate SAN Identities in CSR)";

    private const string SubjectAlternativeName = "2.5.29.17";
    private const string EmptyOrganization = "300B31093007060355040A1300"; // one RDN, O, empty PrintableString

    /// <summary>Null when a signer may see it.</summary>
    public static string? Refuse(string csr, Caller caller, IstiodVersion version)
    {
        CertificateRequest request;
        try
        {
            request = CertificateRequest.LoadSigningRequestPem(csr, HashAlgorithmName.SHA256, CertificateRequestLoadOptions.UnsafeLoadCertificateExtensions, RSASignaturePadding.Pkcs1);
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException) { return "CSR signing error (failed to parse X.509 certificate signing request)"; }
        using X509Certificate2 shown = AsCertificate(request);
        IReadOnlyList<string> uris = SpiffeIdOf.Uris(shown);
        if (uris.Any(u => !caller.SpiffeIds.Contains(u))) { return Refusal; }
        if (version == IstiodVersion.V1_10) { return null; }
        string subject = Convert.ToHexString(request.SubjectName.RawData);
        bool plain = subject is "3000" or EmptyOrganization
            && uris.Count <= 1
            && request.CertificateExtensions.All(e => e.Oid?.Value == SubjectAlternativeName && OnlyUris(e));
        return plain ? null : Refusal;
    }

    /// <summary>Every name in the extension is a URI: tag [6] and nothing else.</summary>
    private static bool OnlyUris(X509Extension san)
    {
        var names = new System.Formats.Asn1.AsnReader(san.RawData, System.Formats.Asn1.AsnEncodingRules.DER).ReadSequence();
        while (names.HasData)
        {
            if (names.PeekTag().TagValue != 6) { return false; }
            names.ReadEncodedValue();
        }
        return true;
    }

    private static X509Certificate2 AsCertificate(CertificateRequest request)
    {
        using ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var carrier = new CertificateRequest("CN=x", key, HashAlgorithmName.SHA256);
        foreach (X509Extension extension in request.CertificateExtensions) { carrier.CertificateExtensions.Add(extension); }
        return carrier.CreateSelfSigned(DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch.AddDays(1));
    }
}
