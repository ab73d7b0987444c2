using VmSidecar.Grpc;
using VmSidecar.Identity;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Pki;

using Xunit;

namespace VmSidecar.Tests.Identity;

public sealed class RefusalDoctorTests
{
    private readonly ManualTimeProvider _time = new();

    [Theory]
    [InlineData("none", "there is no token in")]
    [InlineData("garbage", "does not hold a JWT")]
    [InlineData("expired", "has expired at 2025-12-31T23:00:00Z")]
    [InlineData("early", "is not valid before 2026-01-01T01:00:00Z; this clock says 2026-01-01T00:00:00Z and may be behind")]
    [InlineData("audience", "is for audience api, not istio-ca")]
    [InlineData("user", "is of 'alice', which is no service account")]
    [InlineData("account", "is of vm-ns/other, but this VM is vm-ns/vm-sa")]
    [InlineData("namespace", "is of other/vm-sa, but this VM is vm-ns/vm-sa")]
    [InlineData("good", "the token looks good from here (issuer https://kubernetes.default.svc.cluster.local, valid until 2026-01-01T01:00:00Z), so istiod does not accept its signature, its issuer or cluster 'Kubernetes'")]
    public void An_unauthenticated_answer_is_explained_by_the_token(string kind, string expected)
    {
        using var folder = new Folder();
        using var tokens = new TokenMaker(_time);
        DateTimeOffset now = _time.GetUtcNow();
        string? token = kind switch
        {
            "none" => null,
            "garbage" => "no.token",
            "expired" => tokens.Make(Some.Namespace, Some.Account, notBefore: now.AddHours(-2)),
            "early" => tokens.Make(Some.Namespace, Some.Account, notBefore: now.AddHours(1)),
            "audience" => tokens.Make(Some.Namespace, Some.Account, audience: "api"),
            "user" => tokens.Make(Some.Namespace, Some.Account, subject: "alice"),
            "account" => tokens.Make(Some.Namespace, "other"),
            "namespace" => tokens.Make("other", Some.Account),
            _ => tokens.Make(Some.Namespace, Some.Account),
        };
        string line = RefusalDoctor.Explain(
            new GrpcStatus(GrpcStatusCode.Unauthenticated, "authentication failure"),
            new RefusalEvidence(Some.Options(folder), null, "open /etc/certs/cert-chain.pem: no such file or directory", token, "/tokens/istio-token", now));
        Assert.Contains(expected, line, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', line);
        if (token is not null) { Assert.DoesNotContain(token, line, StringComparison.Ordinal); }
    }

    [Theory]
    [InlineData("TLS handshake with x:15012: istiod is not trusted: its certificate (issuer CN=a) does not lead to any of the 1 trusted roots", "copy its root-cert.pem")]
    [InlineData("TLS handshake with x:15012: istiod is not trusted: its certificate is for a, b, not for x", "set ISTIOD_SAN")]
    [InlineData("missing a root certificate: open /r: no such file", "Copy root-cert.pem")]
    [InlineData("connection error: name x cannot be resolved: no such name", "Append the hosts file")]
    [InlineData("connection error: connecting to x:15012: connection refused", "Check that istiod runs")]
    public void An_unreachable_or_untrusted_istiod_comes_with_what_to_do(string message, string fix)
    {
        using var folder = new Folder();
        using var tokens = new TokenMaker(_time);
        string line = RefusalDoctor.Explain(
            new GrpcStatus(GrpcStatusCode.Unavailable, message),
            new RefusalEvidence(Some.Options(folder), null, "none", tokens.Make(Some.Namespace, Some.Account), "/t", _time.GetUtcNow()));
        Assert.StartsWith(message + ". ", line, StringComparison.Ordinal);
        Assert.Contains(fix, line, StringComparison.Ordinal);
    }

    [Fact]
    public void A_silent_istiod_is_not_said_to_have_taken_the_connection()
    {
        using var folder = new Folder();
        string line = RefusalDoctor.Explain(
            new GrpcStatus(GrpcStatusCode.DeadlineExceeded, "context deadline exceeded"),
            new RefusalEvidence(Some.Options(folder), null, "none", null, "/t", _time.GetUtcNow()));
        Assert.Contains("firewall", line, StringComparison.Ordinal);
        Assert.DoesNotContain("took the connection", line, StringComparison.Ordinal);
    }

    [Fact]
    public void A_denied_identity_names_both_sides_and_the_old_certificate()
    {
        using var folder = new Folder();
        using var tokens = new TokenMaker(_time);
        Issued old = new FakeCa(_time).Issue("spiffe://cluster.local/ns/old/sa/vm", TimeSpan.FromHours(1));
        using CertificatePair? pair = CertificatePair.Parse(old.ChainPem, old.KeyPem, out _, out _);
        string line = RefusalDoctor.Explain(
            new GrpcStatus(GrpcStatusCode.PermissionDenied, "authorization failed: no identities ([spiffe://cluster.local/ns/old/sa/vm]) matched vm-ns/vm-sa"),
            new RefusalEvidence(Some.Options(folder), pair, "", tokens.Make(Some.Namespace, Some.Account), "/t", _time.GetUtcNow()));
        Assert.Contains("the client certificate is for spiffe://cluster.local/ns/old/sa/vm, but this VM is spiffe://cluster.local/ns/vm-ns/sa/vm-sa", line, StringComparison.Ordinal);
        Assert.Contains("belong to one workload", line, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("a.b.c")]
    [InlineData("e30.e30.e30")]
    [InlineData("x.bnVsbA.y")]
    [InlineData("x.W10.y")]
    [InlineData("x.eyJleHAiOjFlMzAwfQ.y")]
    [InlineData("..")]
    public void Any_text_can_be_read_as_a_token_without_harm(string text)
    {
        _ = TokenClaims.TryParse(text, out TokenClaims? claims);
        Assert.Null(claims?.Workload);
    }
}
