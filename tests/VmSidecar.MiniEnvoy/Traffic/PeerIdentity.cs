using System.Formats.Asn1;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>The names in a certificate's subject alternative name (RFC 5280 §4.2.1.6). Pure.</summary>
internal static class PeerIdentity
{
    private const string SubjectAlternativeName = "2.5.29.17";

    public static IEnumerable<string> UrisOf(X509Certificate2 certificate) => Read(certificate, 6);

    /// <summary>URI and DNS names.</summary>
    public static IEnumerable<string> NamesOf(X509Certificate2 certificate) => Read(certificate, 6).Concat(Read(certificate, 2));

    /// <summary>One element of x-forwarded-client-cert as Envoy writes it.</summary>
    public static string ForwardedElement(string own, X509Certificate2 peer) =>
        $"By={own};Hash={Convert.ToHexStringLower(SHA256.HashData(peer.RawDataMemory.Span))};Subject=\"{peer.Subject}\";URI={string.Join(",URI=", UrisOf(peer))}";

    private static List<string> Read(X509Certificate2 certificate, int tag)
    {
        var names = new List<string>();
        foreach (X509Extension extension in certificate.Extensions)
        {
            if (extension.Oid?.Value != SubjectAlternativeName) { continue; }
            try
            {
                AsnReader sequence = new AsnReader(extension.RawData, AsnEncodingRules.DER).ReadSequence();
                while (sequence.HasData)
                {
                    Asn1Tag next = sequence.PeekTag();
                    ReadOnlyMemory<byte> value = sequence.ReadEncodedValue();
                    if (next == new Asn1Tag(TagClass.ContextSpecific, tag))
                    {
                        names.Add(Encoding.ASCII.GetString(new AsnReader(value, AsnEncodingRules.DER).ReadOctetString(next)));
                    }
                }
            }
            catch (AsnContentException) { return []; }
        }
        return names;
    }
}
