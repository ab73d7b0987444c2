using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

using VmSidecar.Configuration;
using VmSidecar.Identity;

using Xunit;

namespace VmSidecar.Tests.Identity;

public sealed class KeyPairTests
{
    [Theory]
    [InlineData(KeyAlgorithm.Rsa, false, "RSA PRIVATE KEY", "1.2.840.113549.1.1.11")]
    [InlineData(KeyAlgorithm.EcdsaP256, false, "EC PRIVATE KEY", "1.2.840.10045.4.3.2")]
    [InlineData(KeyAlgorithm.EcdsaP384, false, "EC PRIVATE KEY", "1.2.840.10045.4.3.3")]
    [InlineData(KeyAlgorithm.Rsa, true, "PRIVATE KEY", "1.2.840.113549.1.1.11")]
    [InlineData(KeyAlgorithm.EcdsaP256, true, "PRIVATE KEY", "1.2.840.10045.4.3.2")]
    internal void The_key_and_the_request_have_the_classic_form(KeyAlgorithm algorithm, bool pkcs8, string label, string signature)
    {
        using KeyPair key = KeyPair.Generate(algorithm, 2048);
        Assert.StartsWith($"-----BEGIN {label}-----\n", key.ToPem(pkcs8), StringComparison.Ordinal);
        Assert.EndsWith("-----\n", key.ToPem(pkcs8), StringComparison.Ordinal);
        string csr = key.ToCsrPem(Some.Id);
        Assert.StartsWith("-----BEGIN CERTIFICATE REQUEST-----", csr, StringComparison.Ordinal);
        Assert.Contains(Convert.ToHexString(new Oid(signature).Encode()), Convert.ToHexString(Der(csr)), StringComparison.Ordinal);
    }

    [Fact]
    public void The_request_holds_one_critical_extension_with_the_raw_uri_and_an_empty_organization()
    {
        using KeyPair key = KeyPair.Generate(KeyAlgorithm.EcdsaP256, 0);
        CertificateRequest request = CertificateRequest.LoadSigningRequestPem(
            key.ToCsrPem("spiffe://cluster.local/ns/vm/sa/my-vm"), HashAlgorithmName.SHA256, CertificateRequestLoadOptions.UnsafeLoadCertificateExtensions);
        Assert.Equal("300B310930070603550 40A1300".Replace(" ", "", StringComparison.Ordinal), Convert.ToHexString(request.SubjectName.RawData));
        X509Extension san = Assert.Single(request.CertificateExtensions);
        Assert.Equal("2.5.29.17", san.Oid!.Value);
        Assert.True(san.Critical);
        Assert.Equal("302786257370696666653A2F2F636C75737465722E6C6F63616C2F6E732F766D2F73612F6D792D766D", Convert.ToHexString(san.RawData));
        Assert.Empty(request.OtherRequestAttributes);
    }

    [Theory]
    [InlineData("spiffe://Cluster.Local/ns/VM/sa/My")]
    [InlineData("spiffe:///ns/vm/sa/my")]
    public void The_case_and_an_empty_trust_domain_stay_as_they_are(string id)
    {
        using KeyPair key = KeyPair.Generate(KeyAlgorithm.EcdsaP256, 0);
        Assert.Contains(Convert.ToHexString(System.Text.Encoding.ASCII.GetBytes(id)), Convert.ToHexString(Der(key.ToCsrPem(id))), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("spiffe://a/ns/x/sa/y", "spiffe://b/ns/x/sa/y", true)]
    [InlineData("spiffe://a/ns/x/sa/y", "spiffe://a/ns/x/sa/z", false)]
    [InlineData("spiffe://a/ns/x/sa/y", null, false)]
    public void A_workload_is_its_namespace_and_account(string one, string? other, bool same) => Assert.Equal(same, SpiffeName.SameWorkload(one, other));

    private static byte[] Der(string pem)
    {
        PemFields fields = PemEncoding.Find(pem);
        return Convert.FromBase64String(pem[fields.Base64Data]);
    }
}

file static class OidExtensions
{
    public static byte[] Encode(this Oid oid)
    {
        var writer = new System.Formats.Asn1.AsnWriter(System.Formats.Asn1.AsnEncodingRules.DER);
        writer.WriteObjectIdentifier(oid.Value!);
        return writer.Encode();
    }
}
