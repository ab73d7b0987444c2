using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using VmSidecar.Identity;
using Xunit;

namespace VmSidecar.Tests.Identity;

public sealed class UnknownCurveTests
{
    [Fact]
    public void A_key_on_a_curve_this_host_does_not_know_is_refused_with_a_reason()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using X509Certificate2 certificate = new CertificateRequest("O=x", key, HashAlgorithmName.SHA256).CreateSelfSigned(DateTimeOffset.UnixEpoch, DateTimeOffset.UnixEpoch.AddYears(99));
        byte[] pkcs8 = key.ExportPkcs8PrivateKey();
        byte[] prime256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        pkcs8[pkcs8.AsSpan().IndexOf(prime256) + 3] ^= 0x01; // an object identifier that names no curve
        string keyPem = PemEncoding.WriteString("PRIVATE KEY", pkcs8);

        Assert.Null(CertificatePair.Parse(certificate.ExportCertificatePem(), keyPem, out PairProblem problem, out string reason));
        Assert.Equal(PairProblem.Mismatched, problem);
        Assert.NotEmpty(reason);
    }
}
