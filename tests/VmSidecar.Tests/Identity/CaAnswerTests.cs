using VmSidecar.Grpc;
using VmSidecar.Identity;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Authentication;
using VmSidecar.TestKit.Pki;

using Xunit;

namespace VmSidecar.Tests.Identity;

/// <summary>What istiod may answer, every row of reference 08 section 1.9 that concerns the CA, and what the agent makes of it.</summary>
public sealed class CaAnswerTests
{
    [Theory]
    [InlineData("expired", "has expired at")]
    [InlineData("early", "is not valid before")]
    [InlineData("audience", "is for audience api, not istio-ca")]
    [InlineData("issuer", "so istiod does not accept its signature, its issuer or cluster")]
    [InlineData("signature", "so istiod does not accept its signature, its issuer or cluster")]
    [InlineData("garbage", "does not hold a JWT")]
    [InlineData("user", "which is no service account")]
    [InlineData("none", "there is no token in")]
    [InlineData("empty", "there is no token in")]
    public async Task A_refused_token_is_refused_without_a_reason_and_explained_with_one(string kind, string expected)
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        DateTimeOffset now = bench.Time.GetUtcNow();
        using var foreign = new TokenMaker(bench.Time);
        string? token = kind switch
        {
            "expired" => bench.Istiod.Tokens.Make(Some.Namespace, Some.Account, notBefore: now.AddHours(-2)),
            "early" => bench.Istiod.Tokens.Make(Some.Namespace, Some.Account, notBefore: now.AddHours(1)),
            "audience" => bench.Istiod.Tokens.Make(Some.Namespace, Some.Account, audience: "api"),
            "issuer" => bench.Istiod.Tokens.Make(Some.Namespace, Some.Account, issuer: "https://elsewhere"),
            "signature" => foreign.Make(Some.Namespace, Some.Account),
            "garbage" => "garbage",
            "user" => bench.Istiod.Tokens.Make(Some.Namespace, Some.Account, subject: "alice"),
            "empty" => "\n",
            _ => null,
        };
        if (token is null) { File.Delete(bench.Options.TokenFile!); }
        else { bench.WriteToken(token); }
        await bench.StartAsync();
        IdentityStatus status = await bench.StatusAsync(s => s.Failures == 1);
        Assert.Equal("rpc error: code = Unauthenticated desc = request authenticate failure", status.LastError);
        Assert.Contains(expected, status.Advice, StringComparison.Ordinal);
        Assert.Equal(1, bench.Calls); // not retried within the operation
        Assert.Equal(token is null or "\n" ? null : "Bearer " + token, bench.Istiod.Ca.Calls.Single().Authorization);
    }

    [Fact]
    public async Task A_token_of_another_account_is_not_taken_for_this_one()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        bench.WriteToken(bench.Istiod.Tokens.Make(Some.Namespace, "other"));
        await bench.StartAsync();
        IdentityStatus status = await bench.StatusAsync(s => s.Failures == 1);
        Assert.Contains("istiod issued for spiffe://cluster.local/ns/vm-ns/sa/other, but this VM is spiffe://cluster.local/ns/vm-ns/sa/vm-sa", status.Advice, StringComparison.Ordinal);
        Assert.Null(bench.Secrets.Current);
    }

    [Fact]
    public async Task A_good_certificate_makes_up_for_a_bad_token_or_none()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        bench.Istiod.CertificateAuthority.Issue(Some.Id, TimeSpan.FromHours(24)).WriteTo(bench.Folder.Path);
        bench.Options = bench.Options with { OutputDirectory = bench.Folder.At("out") };
        Directory.CreateDirectory(bench.Folder.At("out"));
        bench.WriteToken("garbage");
        bench.Boot();
        await bench.FirstAsync();
        File.Delete(bench.Options.TokenFile!);
        await bench.RebootAsync();
        await bench.IssuedAsync();
        Assert.All(bench.Istiod.Ca.Calls, c => Assert.Equal(CredentialKind.Certificate, c.Identity!.By));
    }

    [Fact]
    public async Task A_lifetime_istiod_does_not_grant_is_explained_by_its_own_words()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        bench.Options = bench.Options with { Ttl = TimeSpan.FromHours(87600) };
        bench.Boot();
        await bench.StartAsync();
        IdentityStatus status = await bench.StatusAsync(s => s.Failures == 1);
        Assert.Equal("CSR signing error (requested TTL 87600h0m0s is greater than the max allowed TTL 2160h0m0s). Lower SECRET_TTL", status.Advice);
    }

    [Theory]
    [InlineData("key", "is for another key")]
    [InlineData("identity", "istiod issued for")]
    [InlineData("short", "invalid empty CertChain")]
    [InlineData("garbage", "not an IstioCertificateResponse")]
    [InlineData("ended", "the clock is ahead")]
    public async Task An_answer_that_does_not_hold_up_never_replaces_the_old_one(string kind, string expected)
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        WorkloadSecrets first = await bench.FirstAsync();
        bench.Istiod.Ca.Always = kind switch
        {
            "key" => new CaScript.WrongKey(),
            "identity" => new CaScript.WrongIdentity("spiffe://cluster.local/ns/x/sa/y"),
            "short" => new CaScript.Truncate(1),
            "garbage" => new CaScript.Garbage(),
            _ => null,
        };
        if (kind == "ended") { bench.Istiod.CertificateAuthority.Options = bench.Istiod.CertificateAuthority.Options with { ForcedTtl = TimeSpan.FromHours(-1) }; }
        IdentityStatus status = await bench.UntilAsync(s => s.Failures > 0);
        Assert.Contains(expected, status.LastError, StringComparison.Ordinal);
        Assert.Equal(first.Serial, bench.Secrets.Current!.Serial);
        Assert.Equal(first.KeyPem, File.ReadAllText(bench.Folder.At("key.pem")));
    }

    [Fact]
    public async Task Passing_trouble_is_retried_within_the_operation_and_lasting_trouble_is_not()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        foreach (GrpcStatusCode code in new[] { GrpcStatusCode.ResourceExhausted, GrpcStatusCode.Aborted, GrpcStatusCode.Internal, GrpcStatusCode.Unavailable })
        {
            bench.Istiod.Ca.Scripts.Enqueue(new CaScript.Fail(code, "busy"));
        }
        await bench.StartAsync();
        await bench.UntilAsync(s => s.Condition == IdentityCondition.Good);
        Assert.Equal(5, bench.Calls);
        Assert.True(bench.Logged("Warning ca ca request failed, starting attempt 1 in "));
        for (int attempt = 2; attempt <= 4; attempt++) { Assert.True(bench.Logged($"Debug ca ca request failed, starting attempt {attempt} in ")); } // one warning per change of state
        Assert.Equal(4, bench.Metrics.Counter("num_outgoing_retries", "", "request_type=\"csr\"").Value);
        Assert.Equal(1, bench.Metrics.Counter("num_outgoing_requests", "", "request_type=\"csr\"").Value);
    }

    [Fact]
    public async Task An_istiod_that_never_answers_costs_ten_seconds_not_forever()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        bench.Istiod.Ca.Scripts.Enqueue(new CaScript.Hang());
        await bench.StartAsync();
        IdentityStatus status = await bench.StatusAsync(s => s.Failures == 1);
        Assert.Contains("DeadlineExceeded", status.LastError, StringComparison.Ordinal);
        await bench.UntilAsync(s => s.Condition == IdentityCondition.Good);
    }

    [Theory]
    [InlineData("root")]
    [InlineData("name")]
    [InlineData("expired")]
    [InlineData("no root")]
    public async Task No_credential_goes_to_a_peer_that_is_not_verified(string kind)
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        bench.Istiod.CertificateAuthority.Issue(Some.Id, TimeSpan.FromHours(24)).WriteTo(bench.Folder.Path);
        switch (kind)
        {
            case "root": bench.Istiod.Tls.ServeWith(new FakeCa(bench.Time).IssueServer("istiod.istio-system.svc")); break;
            case "name": bench.Istiod.Tls.Reissue(null, "istiod.other.svc"); break;
            case "expired": bench.Istiod.Tls.Reissue(TimeSpan.FromHours(-1)); break;
            default: File.Delete(bench.Folder.At("root-cert.pem")); break;
        }
        bench.Options = bench.Options with { OutputDirectory = null };
        bench.Boot();
        await bench.StartAsync();
        IdentityStatus status = await bench.StatusAsync(s => s.Failures == 1);
        Assert.Matches("istiod is not trusted|missing a root certificate", status.LastError);
        Assert.Empty(bench.Istiod.Ca.Calls);
    }

    [Fact]
    public async Task Plain_text_carries_no_token()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        bench.Options = bench.Options with { CaPlaintext = true };
        bench.Boot();
        Assert.DoesNotContain(bench.Access.CaMetadata(), h => h.Key == "authorization");
        Assert.Contains(bench.Access.XdsMetadata(), h => h.Key == "authorization");
        Assert.Null(bench.Access.CaChannel().Tls);
    }

    [Theory]
    [InlineData(-3600)]
    [InlineData(3600)]
    public async Task A_clock_an_hour_off_is_named_and_the_vm_stays_in_the_mesh(int seconds)
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync(agentAhead: TimeSpan.FromSeconds(seconds));
        bench.Istiod.Tls.ServeWith(bench.Istiod.CertificateAuthority.IssueServer(TimeSpan.FromDays(-1), "istiod.istio-system.svc"));
        // istiod's own certificate is older than an hour, as in life.
        FakeCaOptions fresh = bench.Istiod.CertificateAuthority.Options;
        bench.Istiod.CertificateAuthority.Options = fresh with { BackDate = TimeSpan.FromDays(1) };
        bench.Istiod.Tls.Reissue(TimeSpan.FromDays(3000));
        bench.Istiod.CertificateAuthority.Options = fresh;
        await bench.FirstAsync();
        Assert.True(bench.Logged(seconds > 0 ? "ahead of istiod's" : "behind istiod's"));
        WorkloadSecrets first = bench.Secrets.Current!;
        Assert.NotEqual(first.Serial, (await bench.RenewedAsync()).Serial);
    }

    [Fact]
    public async Task A_clock_behind_a_fresh_istiod_is_told_by_how_much()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync(agentAhead: TimeSpan.FromHours(-1));
        await bench.StartAsync();
        IdentityStatus status = await bench.StatusAsync(s => s.Failures == 1);
        Assert.Contains("is behind by at least 3480 s", status.LastError, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_external_signer_accepts_the_request()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync(new IstiodOptions { RegistrationAuthority = true });
        await bench.FirstAsync();
        Assert.Equal(1, bench.Calls);
    }
}
