using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

using VmSidecar.TestKit;
using VmSidecar.TestKit.Pki;

using Xunit;

namespace VmSidecar.Tests.Pki;

/// <summary>The double must be as strict as the peer it stands for.</summary>
public sealed class FakeCaTests
{
    private const string Id = "spiffe://Cluster.Local/ns/VM/sa/My";
    private readonly ManualTimeProvider _time = new();

    [Theory]
    [InlineData(0, false, 2)]
    [InlineData(1, false, 3)]
    [InlineData(2, false, 4)]
    [InlineData(2, true, 3)]
    public void A_signed_csr_gives_a_chain_in_istiods_layout_that_it_accepts_itself(int depth, bool joined, int elements)
    {
        var ca = new FakeCa(_time, new() { TrustDomain = "Cluster.Local", Intermediates = depth, JoinIntermediates = joined });
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        string csr = new CertificateRequest("O=", key, HashAlgorithmName.SHA256).CreateSigningRequestPem();
        IReadOnlyList<string>? chain = ca.SignCsr(csr, Id, 3600, out string refusal);
        Assert.Equal("", refusal);
        Assert.Equal(elements, chain!.Count);
        X509Certificate2Collection all = [];
        all.ImportFromPem(string.Concat(chain));
        Assert.Null(ca.RefuseClient(all[0], all, out string id));
        Assert.Equal(Id, id);
        Assert.Equal(_time.GetUtcNow().AddSeconds(-120), all[0].NotBefore.ToUniversalTime());
    }

    [Fact]
    public void Refuses_what_istiod_refuses()
    {
        var ca = new FakeCa(_time, new() { Intermediates = 1 });
        Assert.Null(ca.SignCsr("garbage", Id, 0, out string refusal));
        Assert.Equal("CSR signing error (certificate signing request is not properly encoded)", refusal);
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        string csr = new CertificateRequest("O=", key, HashAlgorithmName.SHA256).CreateSigningRequestPem();
        Assert.Null(ca.SignCsr(csr, Id, 87600 * 3600L, out refusal));
        Assert.Equal("CSR signing error (requested TTL 87600h0m0s is greater than the max allowed TTL 2160h0m0s)", refusal);
        Issued good = ca.Issue("spiffe://cluster.local/ns/a/sa/b", TimeSpan.FromHours(1));
        Assert.Null(ca.RefuseClient(good.Certificate, good.Intermediates, out _));
        Assert.NotNull(ca.RefuseClient(good.Certificate, [], out _));
        Issued two = ca.Issue("spiffe://cluster.local/ns/a/sa/b spiffe://cluster.local/ns/a/sa/c", TimeSpan.FromHours(1));
        Assert.Contains("detected 2", ca.RefuseClient(two.Certificate, two.Intermediates, out _), StringComparison.Ordinal);
        ca.RotateRoot(keepOld: false);
        Assert.NotNull(ca.RefuseClient(good.Certificate, good.Intermediates, out _));
    }

    [Fact]
    public void A_token_is_judged_by_every_claim()
    {
        using var maker = new TokenMaker(_time, rsa: true);
        using var other = new TokenMaker(_time, rsa: true);
        Assert.Equal("vm/my", maker.Review(maker.Make("vm", "my"), "istio-ca", out _));
        Assert.Null(maker.Review(other.Make("vm", "my"), "istio-ca", out string reason));
        Assert.Equal("bad signature", reason);
        Assert.Null(maker.Review(maker.Make("vm", "my", audience: "x"), "istio-ca", out reason));
        Assert.Equal("wrong audience", reason);
        Assert.Null(maker.Review(maker.Make("vm", "my", subject: "alice"), "istio-ca", out reason));
        Assert.Equal("not a service account", reason);
        string token = maker.Make("vm", "my");
        _time.Advance(TimeSpan.FromHours(1));
        Assert.Null(maker.Review(token, "istio-ca", out reason));
        Assert.Equal("expired", reason);
    }
}
