using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

using VmSidecar.Grpc;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Peers;
using VmSidecar.TestKit.Pki;

using Xunit;

namespace VmSidecar.Tests.TestKit.Istiod;

/// <summary>Every row of what real istiods did with credentials and CSRs, against the double.</summary>
public sealed class CredentialTests
{
    public static TheoryData<string> BadCredentials() =>
        ["expired", "not yet valid", "wrong audience", "wrong issuer", "bad signature", "no JWT", "no service account", "none", "no Bearer", "two spaces", "unknown cluster"];

    [Theory]
    [MemberData(nameof(BadCredentials))]
    public async Task A_bad_credential_is_refused_and_never_told_why(string which)
    {
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync();
        await using IstiodPeer peer = Bad(istiod, which);

        GrpcException refused = await Assert.ThrowsAsync<GrpcException>(() => peer.SignAsync(Csr()));
        Assert.Equal(new GrpcStatus(GrpcStatusCode.Unauthenticated, "request authenticate failure"), refused.Status);

        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("NDS", node: IstiodPeer.Node());
        Assert.Equal(new GrpcStatus(GrpcStatusCode.Unauthenticated, "authentication failure"), await ads.EndAsync());
        Assert.NotEmpty(istiod.Authenticator.LastRefusal);
    }

    [Fact]
    public async Task A_stream_refused_before_its_first_request_never_blocks_its_sender()
    {
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync();
        for (int round = 0; round < 150; round++) // the answer races with the first write
        {
            await using var peer = new IstiodPeer(istiod) { Token = "abc" };
            await using AdsPeer ads = await peer.AdsAsync();
            await ads.AskAsync("NDS", node: IstiodPeer.Node()).WaitAsync(VmSidecar.TestKit.Test.Deadline, TestContext.Current.CancellationToken);
            Assert.Equal(GrpcStatusCode.Unauthenticated, (await ads.EndAsync()).Code);
        }
    }

    [Theory]
    [InlineData(IstiodVersion.V1_10, 1)]
    [InlineData(IstiodVersion.V1_31, 120)]
    public async Task A_good_token_gets_leaf_plugged_in_chain_and_root_backdated_as_the_version_does(object version, int backdated)
    {
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync(new IstiodOptions { Version = (IstiodVersion)version, Intermediates = 1 });
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        DateTimeOffset before = TimeProvider.System.GetUtcNow();
        IReadOnlyList<string> chain = await peer.SignAsync(Csr());
        DateTimeOffset after = TimeProvider.System.GetUtcNow();
        Assert.Equal(3, chain.Count);
        using X509Certificate2 leaf = X509Certificate2.CreateFromPem(chain[0]);
        Assert.Equal(["spiffe://cluster.local/ns/vm-ns/sa/vm-sa"], SpiffeIdOf.Uris(leaf));
        Assert.Equal("", leaf.Subject);
        Assert.True(leaf.Extensions.Single(e => e.Oid!.Value == "2.5.29.17").Critical);
        Assert.Contains(leaf.Extensions, e => e is X509KeyUsageExtension);
        Assert.Contains(leaf.Extensions, e => e is X509EnhancedKeyUsageExtension);
        Assert.Contains(leaf.Extensions, e => e is X509BasicConstraintsExtension);
        Assert.Contains(leaf.Extensions, e => e is X509AuthorityKeyIdentifierExtension);
        Assert.InRange(leaf.NotBefore.ToUniversalTime().AddSeconds(backdated), before.UtcDateTime.AddSeconds(-1), after.UtcDateTime); // whole seconds
        Assert.Equal(istiod.RootsPem, chain[^1]);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("bad")]
    public async Task An_own_certificate_wins_over_no_token_and_over_a_bad_one(string? token)
    {
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync();
        Issued own = istiod.CertificateAuthority.Issue("spiffe://cluster.local/ns/vm-ns/sa/vm-sa", TimeSpan.FromHours(1));
        await using var peer = new IstiodPeer(istiod) { Certificate = own, Token = token };
        Assert.Equal(2, (await peer.SignAsync(Csr())).Count);
        await using AdsPeer ads = await peer.AdsAsync();
        await ads.AskAsync("NDS", node: IstiodPeer.Node());
        Assert.NotNull(await ads.NextAsync());
        Assert.Equal(own.Certificate.Thumbprint, istiod.Ca.Calls.Single().ClientCertificate);
    }

    [Theory]
    [InlineData("expired")]
    [InlineData("foreign CA")]
    [InlineData("two names")]
    [InlineData("other trust domain")]
    public async Task A_bad_client_certificate_fails_the_handshake_whatever_the_token(string which)
    {
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync();
        const string Good = "spiffe://cluster.local/ns/vm-ns/sa/vm-sa";
        Issued own = which switch
        {
            "expired" => istiod.CertificateAuthority.Issue(Good, TimeSpan.FromHours(1), TimeProvider.System.GetUtcNow().AddHours(-2)),
            "foreign CA" => new FakeCa(TimeProvider.System).Issue(Good, TimeSpan.FromHours(1)),
            "two names" => istiod.CertificateAuthority.Issue(Good + " spiffe://cluster.local/ns/a/sa/b", TimeSpan.FromHours(1)),
            _ => istiod.CertificateAuthority.Issue("spiffe://other/ns/vm-ns/sa/vm-sa", TimeSpan.FromHours(1)),
        };
        await using var peer = new IstiodPeer(istiod) { Certificate = own, Token = istiod.Tokens.Make("vm-ns", "vm-sa") };
        GrpcException failed = await Assert.ThrowsAsync<GrpcException>(() => peer.SignAsync(Csr()));
        Assert.Equal(GrpcStatusCode.Unavailable, failed.Status.Code);
        Assert.NotEmpty(istiod.Tls.Refusals);
    }

    [Theory]
    [InlineData("no SAN, RSA")]
    [InlineData("other SAN, P-256")]
    public async Task The_name_issued_is_the_callers_whatever_the_CSR_says(string which)
    {
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        IReadOnlyList<string> chain = await peer.SignAsync(which.StartsWith("no", StringComparison.Ordinal) ? RsaCsr() : Csr("spiffe://cluster.local/ns/other/sa/other"));
        using X509Certificate2 leaf = X509Certificate2.CreateFromPem(chain[0]);
        Assert.Equal(["spiffe://cluster.local/ns/vm-ns/sa/vm-sa"], SpiffeIdOf.Uris(leaf));
    }

    [Theory]
    [InlineData("", 86400, "CSR signing error (certificate signing request is not properly encoded)")]
    [InlineData("garbage", 86400, "CSR signing error (certificate signing request is not properly encoded)")]
    [InlineData(null, 315360000, "CSR signing error (requested TTL 87600h0m0s is greater than the max allowed TTL 2160h0m0s)")]
    public async Task What_cannot_be_signed_is_an_invalid_argument(string? csr, long validity, string message)
    {
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        GrpcException refused = await Assert.ThrowsAsync<GrpcException>(() => peer.SignAsync(csr ?? Csr(), validity));
        Assert.Equal(new GrpcStatus(GrpcStatusCode.InvalidArgument, message), refused.Status);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-5)]
    public async Task No_validity_means_a_day(long validity)
    {
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync();
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        using X509Certificate2 leaf = X509Certificate2.CreateFromPem((await peer.SignAsync(Csr(), validity))[0]);
        Assert.InRange((leaf.NotAfter.ToUniversalTime() - TimeProvider.System.GetUtcNow().UtcDateTime).TotalHours, 23.9, 24.1);
    }

    [Fact]
    public async Task A_registration_authority_refuses_extensions_and_foreign_names()
    {
        await using FakeIstiod istiod = await FakeIstiod.StartedAsync(new IstiodOptions { RegistrationAuthority = true });
        await using IstiodPeer peer = IstiodPeer.WithToken(istiod);
        Assert.Equal(2, (await peer.SignAsync(Csr("spiffe://cluster.local/ns/vm-ns/sa/vm-sa"))).Count);
        foreach (string bad in new[] { Csr("spiffe://cluster.local/ns/other/sa/x"), Csr("spiffe://cluster.local/ns/vm-ns/sa/vm-sa", keyUsage: true), RsaCsr() })
        {
            GrpcException refused = await Assert.ThrowsAsync<GrpcException>(() => peer.SignAsync(bad));
            Assert.Equal("CSR signing error (unable to validate SAN Identities in CSR)", refused.Status.Message);
        }
    }

    private static IstiodPeer Bad(FakeIstiod istiod, string which)
    {
        TokenMaker t = istiod.Tokens;
        string good = t.Make("vm-ns", "vm-sa");
        return which switch
        {
            "expired" => new(istiod) { Token = t.Make("vm-ns", "vm-sa", notBefore: TimeProvider.System.GetUtcNow().AddHours(-2)) },
            "not yet valid" => new(istiod) { Token = t.Make("vm-ns", "vm-sa", notBefore: TimeProvider.System.GetUtcNow().AddHours(1)) },
            "wrong audience" => new(istiod) { Token = t.Make("vm-ns", "vm-sa", audience: "other") },
            "wrong issuer" => new(istiod) { Token = t.Make("vm-ns", "vm-sa", issuer: "https://other") },
            "bad signature" => new(istiod) { Token = new TokenMaker(TimeProvider.System).Make("vm-ns", "vm-sa") },
            "no JWT" => new(istiod) { Token = "abc" },
            "no service account" => new(istiod) { Token = t.Make("vm-ns", "vm-sa", subject: "alice") },
            "none" => new(istiod),
            "no Bearer" => new(istiod) { Authorization = good },
            "two spaces" => new(istiod) { Authorization = "Bearer  " + good },
            _ => new(istiod) { Token = good, ClusterId = "elsewhere" },
        };
    }

    private static string Csr(string spiffe = "spiffe://cluster.local/ns/vm-ns/sa/vm-sa", bool keyUsage = false)
    {
        using ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest(new X500DistinguishedName(Convert.FromHexString("300B31093007060355040A1300")), key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(SpiffeIdOf.Extension(spiffe));
        if (keyUsage) { request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, critical: true)); }
        return request.CreateSigningRequestPem() + "\n";
    }

    private static string RsaCsr()
    {
        using RSA key = RSA.Create(2048);
        return new CertificateRequest("CN=x", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1).CreateSigningRequestPem() + "\n";
    }
}
