using System.Formats.Asn1;
using System.Security.Cryptography.X509Certificates;

namespace VmSidecar.TestKit.Pki;

/// <summary>The URI names of a certificate, read and written by hand: the framework's builder changes the case of the trust domain.</summary>
internal static class SpiffeIdOf
{
    private static readonly Asn1Tag Uri = new(TagClass.ContextSpecific, 6);

    /// <summary>Every URI in the subject alternative names.</summary>
    public static IReadOnlyList<string> Uris(X509Certificate2 certificate)
    {
        X509Extension? san = certificate.Extensions.FirstOrDefault(e => e.Oid?.Value == "2.5.29.17");
        if (san is null) { return []; }
        List<string> found = [];
        AsnReader names = new AsnReader(san.RawData, AsnEncodingRules.DER).ReadSequence();
        while (names.HasData)
        {
            if (names.PeekTag().HasSameClassAndValue(Uri)) { found.Add(names.ReadCharacterString(UniversalTagNumber.IA5String, Uri)); }
            else { names.ReadEncodedValue(); }
        }
        return found;
    }

    /// <summary>A critical extension with one URI, or, where <paramref name="uris"/> has several separated by spaces, all of them.</summary>
    public static X509Extension Extension(string uris)
    {
        var writer = new AsnWriter(AsnEncodingRules.DER);
        using (writer.PushSequence())
        {
            foreach (string uri in uris.Split(' ', StringSplitOptions.RemoveEmptyEntries)) { writer.WriteCharacterString(UniversalTagNumber.IA5String, uri, Uri); }
        }
        return new X509Extension("2.5.29.17", writer.Encode(), critical: true);
    }
}
