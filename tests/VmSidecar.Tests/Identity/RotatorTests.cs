using VmSidecar.Grpc;
using VmSidecar.Identity;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Authentication;
using VmSidecar.TestKit.Pki;

using Xunit;

namespace VmSidecar.Tests.Identity;

/// <summary>The worked sequences of reference 02 section 10 and the traps around them, on real TLS.</summary>
public sealed class RotatorTests
{
    [Theory]
    [InlineData(IstiodVersion.V1_10, 0)]
    [InlineData(IstiodVersion.V1_31, 0)]
    [InlineData(IstiodVersion.V1_10, 2)]
    [InlineData(IstiodVersion.V1_31, 2)]
    internal async Task First_boot_gets_a_certificate_with_the_token_and_writes_the_files(IstiodVersion version, int intermediates)
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync(new IstiodOptions { Version = version, Intermediates = intermediates });
        WorkloadSecrets held = await bench.FirstAsync();
        CaCall call = Assert.Single(bench.Istiod.Ca.Calls);
        Assert.Equal("Bearer " + File.ReadAllText(bench.Options.TokenFile!), call.Authorization);
        Assert.Equal(("Kubernetes", 86400L, "", null), (call.ClusterId, call.Validity, call.CertSigner, call.ClientCertificate));
        Assert.Equal(held.KeyPem, File.ReadAllText(bench.Folder.At("key.pem")));
        Assert.Equal(held.ChainPem, File.ReadAllText(bench.Folder.At("cert-chain.pem")));
        Assert.Equal(held.RootsPem, File.ReadAllText(bench.Folder.At("root-cert.pem")));
        Assert.EndsWith(bench.Istiod.RootsPem, held.ChainPem, StringComparison.Ordinal); // the root is part of the chain
        Assert.Contains($"Information default CA Endpoint {bench.Istiod.Target}, provider Citadel", bench.Log.Lines);
        Assert.Contains($"Information default Using CA {bench.Istiod.Target} cert with certs: {bench.Folder.At("root-cert.pem")}", bench.Log.Lines);
        Assert.Contains("Information default JWT policy is third-party-jwt", bench.Log.Lines);
        Assert.True(bench.Logged("Information cache generated new workload certificate\tlatency="));
        Assert.True(bench.Logged("Information cache Root cert has changed, start rotating root cert"));
        Assert.False(bench.Logged(held.KeyPem) || bench.Logged(File.ReadAllText(bench.Options.TokenFile!)));
        var page = new System.Text.StringBuilder();
        bench.Metrics.WriteTo(page);
        Assert.Contains("istio_agent_cert_expiry_seconds{resource_name=\"default\"} 86400\n", page.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Renews_at_half_of_the_lifetime_with_its_own_certificate_long_after_the_token_ended()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        WorkloadSecrets first = await bench.FirstAsync();
        DateTimeOffset start = bench.Time.GetUtcNow();
        WorkloadSecrets second = await bench.RenewedAsync();
        Assert.InRange(bench.Time.GetUtcNow() - start, TimeSpan.FromHours(12), TimeSpan.FromHours(12) + TimeSpan.FromMinutes(2));
        CaCall call = bench.Istiod.Ca.Calls.Last();
        Assert.Equal(CredentialKind.Certificate, call.Identity!.By);
        Assert.NotNull(call.Authorization); // the expired token goes along, as the classic agent sends it
        Assert.NotEqual(first.KeyPem, second.KeyPem);
        Assert.Equal(second.ChainPem, File.ReadAllText(bench.Folder.At("cert-chain.pem")));
        Assert.Equal(1, bench.CountLogged("Root cert has changed"));
    }

    [Fact]
    public async Task The_start_does_not_wait_for_istiod_and_recovers_when_it_comes()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        await bench.Istiod.StopAsync();
        await bench.StartAsync(); // returns
        IdentityStatus failed = await bench.UntilAsync(s => s.Failures >= 3);
        Assert.Equal(IdentityCondition.None, failed.Condition);
        Assert.Contains("connection refused", failed.LastError, StringComparison.Ordinal);
        Assert.True(bench.Logged("Warning ca ca request failed, starting attempt 1 in "));
        Assert.Equal(1, bench.CountLogged("failed to warm certificate"));
        await bench.Istiod.StartAsync();
        await bench.UntilAsync(s => s.Condition == IdentityCondition.Good);
        Assert.True(bench.Logged("signing works again after"));
    }

    [Fact]
    public async Task A_reboot_with_an_expired_token_serves_the_certificate_from_disk_at_once_and_renews_it_in_time()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        WorkloadSecrets first = await bench.FirstAsync();
        bench.Advance(TimeSpan.FromHours(3));
        File.Delete(bench.Options.TokenFile!); // tmpfs
        await bench.Istiod.StopAsync();
        await bench.RebootAsync();
        Assert.Equal(first.Serial, (await bench.IssuedAsync()).Serial); // istiod is not needed for it
        Assert.Equal(1, bench.Calls);
        await bench.Istiod.StartAsync();
        await bench.RenewedAsync();
        Assert.Equal(CredentialKind.Certificate, bench.Istiod.Ca.Calls.Last().Identity!.By);
        Assert.True(bench.CountLogged("failed to fetch token from file") == 1, "one line for a missing token, not one per call");
    }

    [Fact]
    public async Task A_reboot_with_an_expired_certificate_uses_the_token()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        await bench.FirstAsync();
        await bench.StopAsync();
        bench.Advance(TimeSpan.FromHours(30));
        bench.WriteToken();
        bench.Boot();
        await bench.FirstAsync();
        Assert.Equal(CredentialKind.Token, bench.Istiod.Ca.Calls.Last().Identity!.By);
        Assert.Empty(bench.Istiod.Tls.Refusals);
        Assert.True(bench.Logged("cert expired, using token instead"));
    }

    [Fact]
    public async Task A_reboot_with_neither_alarms_and_recovers_as_soon_as_a_token_appears()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        await bench.FirstAsync();
        await bench.StopAsync();
        bench.Advance(TimeSpan.FromHours(30));
        bench.Boot();
        await bench.StartAsync();
        IdentityStatus alarm = await bench.UntilAsync(s => s.Failures >= 2);
        Assert.Equal(IdentityCondition.None, alarm.Condition);
        Assert.Contains("the token in", alarm.Advice, StringComparison.Ordinal);
        Assert.Contains("has expired at 2026-01-01T01:00:00Z", alarm.Advice, StringComparison.Ordinal);
        Assert.Contains("the client certificate has expired at", alarm.Advice, StringComparison.Ordinal);
        Assert.Contains("istioctl x workload entry configure", alarm.Advice, StringComparison.Ordinal);
        bench.WriteToken();
        await bench.PassAsync(TimeSpan.FromMilliseconds(100)); // the settle time, far less than the back-off
        await bench.UntilAsync(s => s.Condition == IdentityCondition.Good); // an operation under way may have to end first
    }

    [Fact]
    public async Task A_mismatched_pair_of_an_interrupted_provisioning_falls_back_to_the_token()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        Issued one = bench.Istiod.CertificateAuthority.Issue(Some.Id, TimeSpan.FromHours(24)), two = bench.Istiod.CertificateAuthority.Issue(Some.Id, TimeSpan.FromHours(24));
        one.WriteTo(bench.Folder.Path);
        File.WriteAllText(bench.Folder.At("key.pem"), two.KeyPem);
        await bench.FirstAsync();
        Assert.Equal(CredentialKind.Token, bench.Istiod.Ca.Calls.Single().Identity!.By);
        Assert.True(bench.Logged("key and certificate do not belong together"));
    }

    [Theory]
    [InlineData(System.Security.Authentication.SslProtocols.Tls12)]
    [InlineData(System.Security.Authentication.SslProtocols.Tls13)]
    public async Task A_certificate_of_a_ca_istiod_does_not_trust_falls_back_to_the_token(System.Security.Authentication.SslProtocols tls)
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync(new IstiodOptions { Protocols = tls });
        Issued foreign = new FakeCa(bench.Time).Issue(Some.Id, TimeSpan.FromHours(24));
        foreign.WriteTo(bench.Folder.Path);
        File.WriteAllText(bench.Folder.At("root-cert.pem"), bench.Istiod.RootsPem);
        await bench.StartAsync();
        await bench.UntilAsync(s => s.Condition == IdentityCondition.Good);
        Assert.NotEmpty(bench.Istiod.Tls.Refusals);
        Assert.Equal(CredentialKind.Token, bench.Istiod.Ca.Calls.Last().Identity!.By);
        Assert.True(bench.Logged("istiod refused the client certificate, using token instead"));
    }

    [Fact]
    public async Task A_certificate_of_another_identity_is_not_shown()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        bench.Istiod.CertificateAuthority.Issue("spiffe://cluster.local/ns/old/sa/vm", TimeSpan.FromHours(24)).WriteTo(bench.Folder.Path);
        await bench.FirstAsync();
        CaCall call = Assert.Single(bench.Istiod.Ca.Calls);
        Assert.Null(call.ClientCertificate);
        Assert.Equal(Some.Id, call.Identity!.Primary);
    }

    [Fact]
    public async Task A_suspend_or_a_clock_step_is_noticed_within_a_minute()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        WorkloadSecrets first = await bench.FirstAsync();
        bench.AgentTime.Jump(TimeSpan.FromHours(13)); // the wall clock moves, no timer runs
        WorkloadSecrets second = await bench.RenewedAsync(TimeSpan.FromSeconds(60));
        Assert.NotEqual(first.Serial, second.Serial);
        Assert.InRange(bench.Time.GetUtcNow() - second.Created, TimeSpan.Zero, TimeSpan.FromMinutes(2));
    }

    [Fact]
    public async Task Extra_anchors_reach_peers_at_once_without_a_new_leaf()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        WorkloadSecrets first = await bench.FirstAsync();
        string extra = new FakeCa(bench.Time).RootsPem;
        (_, Task changed) = bench.Secrets.Watch();
        Assert.Null(bench.Trust.Accept([extra]));
        await changed.WaitAsync(Test.Deadline);
        Assert.Equal((first.Serial, PemBundle.Merge(bench.Istiod.RootsPem, extra)), (bench.Secrets.Current!.Serial, bench.Secrets.Current.RootsPem));
        Assert.NotNull(bench.Trust.Accept(["nonsense"])); // NACK; the old ones stay
        Assert.Equal(1, bench.Calls);
    }

    /// <summary>What istiod says first after the start counts, also when it is "none": until then peers of the other root stay trusted.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Anchors_withdrawn_while_the_agent_is_replaced_or_restarted_go_with_istiods_first_word(bool isReplaced)
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        bench.Options = bench.Options with { OutputDirectory = bench.Folder.At("out") };
        Directory.CreateDirectory(bench.Options.OutputDirectory);
        bench.Boot();
        await bench.FirstAsync();
        string extra = new FakeCa(bench.Time).RootsPem;
        (_, Task changed) = bench.Secrets.Watch();
        Assert.Null(bench.Trust.Accept([extra]));
        await changed.WaitAsync(Test.Deadline);
        await bench.StopAsync(); // which finishes the files
        WorkloadSecrets left = bench.Secrets.Current!;
        bench.Boot(isReplaced ? left : null);
        WorkloadSecrets taken = await bench.FirstAsync();
        Assert.Equal((left.Serial, PemBundle.Merge(bench.Istiod.RootsPem, extra)), (taken.Serial, taken.RootsPem));
        (_, changed) = bench.Secrets.Watch();
        Assert.Null(bench.Trust.Accept([]));
        await changed.WaitAsync(Test.Deadline);
        Assert.Equal((left.Serial, PemBundle.Merge(bench.Istiod.RootsPem)), (bench.Secrets.Current!.Serial, bench.Secrets.Current.RootsPem));
        Assert.Equal(1, bench.Calls);
    }

    [Fact]
    public async Task A_root_rollover_is_followed_without_losing_istiod()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        await bench.FirstAsync();
        FakeCa ca = bench.Istiod.CertificateAuthority;
        string r1 = ca.RootsPem;
        ca.RotateRoot(keepOld: true); // signs with R2, sends both
        bench.Istiod.Tls.Reissue(TimeSpan.FromDays(3000));
        string both = ca.RootsPem;
        bench.Istiod.Tls.ServeWith(ca.IssueServer(TimeSpan.FromDays(3000), "istiod.istio-system.svc"));
        // istiod's own certificate is of R2 already, which this VM has not heard of: it must not be trusted yet.
        IdentityStatus refused = await bench.UntilAsync(s => s.Failures > 0);
        Assert.Contains("istiod is not trusted", refused.LastError, StringComparison.Ordinal);
        Assert.Equal(IdentityCondition.Good, refused.Condition); // and the old certificate is still served
        Assert.Null(bench.Trust.Accept([both])); // PCDS brings R2
        await bench.UntilAsync(s => s.Failures == 0);
        Assert.Equal(PemBundle.Merge(both), bench.Secrets.Current!.RootsPem);
        Assert.Null(bench.Trust.Accept([]));
        ca.DropOldRoots();
        await bench.RenewedAsync();
        Assert.Equal(PemBundle.Merge(ca.RootsPem), bench.Secrets.Current!.RootsPem);
        Assert.NotEqual(r1, ca.RootsPem);
        await bench.RenewedAsync(); // still reaches istiod
    }

    [Fact]
    public async Task Failing_renewals_keep_the_old_certificate_and_alarm_once_each()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        WorkloadSecrets first = await bench.FirstAsync();
        bench.Istiod.Ca.Always = new CaScript.Fail(GrpcStatusCode.PermissionDenied, "no");
        await bench.UntilAsync(s => s.Condition == IdentityCondition.Lapsing, TimeSpan.FromMinutes(10));
        Assert.Equal(first.Serial, bench.Secrets.Current!.Serial);
        Assert.InRange(first.NotAfter - bench.AgentTime.GetUtcNow(), TimeSpan.FromHours(5), TimeSpan.FromHours(6));
        await bench.UntilAsync(s => s.Condition == IdentityCondition.Lapsed, TimeSpan.FromMinutes(10));
        Assert.Equal(1, bench.CountLogged("cannot be renewed"));
        Assert.Equal(1, bench.CountLogged("this VM is out of the mesh"));
        Assert.InRange(bench.CountLogged("resource:default failed to sign: create certificate: rpc error: code = PermissionDenied desc = no"), 1, 2); // at first, and once the certificate has ended on top
        bench.Istiod.Ca.Always = null;
        bench.WriteToken();
        await bench.UntilAsync(s => s.Condition == IdentityCondition.Good);
    }
}
