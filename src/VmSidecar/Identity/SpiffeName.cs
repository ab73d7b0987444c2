using System.Formats.Asn1;
using System.Security.Cryptography.X509Certificates;

namespace VmSidecar.Identity;

/// <summary>Reads and writes the SPIFFE URI of a certificate byte for byte. By hand, because SubjectAlternativeNameBuilder.AddUri lower-cases the trust domain.</summary>
internal static class SpiffeName
{
    private const string Scheme = "spiffe://";
    private const string SubjectAlternativeName = "2.5.29.17";
    private static readonly Asn1Tag UriTag = new(TagClass.ContextSpecific, 6); // RFC 5280 §4.2.1.6: uniformResourceIdentifier

    /// <summary>One RDN, organizationName, empty PrintableString: the subject the classic agent sends.</summary>
    public static X500DistinguishedName EmptyOrganization => new([0x30, 0x0B, 0x31, 0x09, 0x30, 0x07, 0x06, 0x03, 0x55, 0x04, 0x0A, 0x13, 0x00]);

    /// <summary>A critical subjectAltName with exactly this URI.</summary>
    public static X509Extension ToExtension(string uri)
    {
        var writer = new AsnWriter(AsnEncodingRules.DER);
        using (writer.PushSequence()) { writer.WriteCharacterString(UniversalTagNumber.IA5String, uri, UriTag); }
        return new X509Extension(SubjectAlternativeName, writer.Encode(), critical: true);
    }

    /// <summary>The only URI of the certificate; null when there is none, more than one, or the extension cannot be read.</summary>
    public static string? Of(X509Certificate2 certificate)
    {
        X509Extension? names = certificate.Extensions[SubjectAlternativeName];
        if (names is null) { return null; }
        try
        {
            string? found = null;
            AsnReader reader = new AsnReader(names.RawData, AsnEncodingRules.DER).ReadSequence();
            while (reader.HasData)
            {
                if (!reader.PeekTag().HasSameClassAndValue(UriTag)) { reader.ReadEncodedValue(); continue; }
                if (found is not null) { return null; }
                found = reader.ReadCharacterString(UniversalTagNumber.IA5String, UriTag);
            }
            return found;
        }
        catch (AsnContentException) { return null; }
    }

    /// <summary>
    /// True when both name the same namespace and account. The trust domain is left out on purpose: istiod issues in the mesh's own,
    /// whatever TRUST_DOMAIN says, and a certificate of another mesh does not survive its TLS handshake anyway.
    /// </summary>
    public static bool SameWorkload(string? one, string? other) => one is not null && other is not null && PathOf(one).SequenceEqual(PathOf(other));

    /// <summary>The trust domain of a SPIFFE URI, empty when it is none.</summary>
    public static string TrustDomainOf(string uri) =>
        uri.StartsWith(Scheme, StringComparison.Ordinal) ? uri[Scheme.Length..].Split('/')[0] : "";

    private static ReadOnlySpan<char> PathOf(string uri)
    {
        if (!uri.StartsWith(Scheme, StringComparison.Ordinal)) { return uri; }
        ReadOnlySpan<char> rest = uri.AsSpan(Scheme.Length);
        int slash = rest.IndexOf('/');
        return slash < 0 ? rest : rest[slash..];
    }
}
