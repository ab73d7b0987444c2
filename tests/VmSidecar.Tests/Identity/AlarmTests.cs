using VmSidecar.Configuration;
using VmSidecar.Identity;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Pki;

using Xunit;

namespace VmSidecar.Tests.Identity;

/// <summary>An operator hears of a lapse while there is still time, once, and in one line; and of the clock.</summary>
public sealed class AlarmTests
{
    /// <summary>Also where certificates are written to one folder and looked for in another (reference 03 trap 18).</summary>
    [Theory, InlineData(null), InlineData("elsewhere")]
    public async Task A_token_that_ends_before_the_next_renewal_is_told_hours_ahead_and_a_longer_one_ends_the_alarm(string? provisioned)
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        bench.Options = bench.Options with { ProvisionedDirectory = provisioned is null ? null : Path.Combine(bench.Options.OutputDirectory!, provisioned) };
        bench.Boot();
        IdentityStatus status = await FirstStatusAsync(bench);
        Assert.Contains("the token ends at 2026-01-01T01:00:00Z and nothing else can prove", status.Advice, StringComparison.Ordinal);
        Assert.Contains("Set PROV_CERT and OUTPUT_CERTS to one folder", status.Advice, StringComparison.Ordinal);
        Assert.Equal(status.Advice, status.Trouble); // the line of systemctl status
        Assert.Equal(1, bench.CountLogged("nothing else can prove"));
        bench.WriteToken(bench.Istiod.Tokens.Make(Some.Namespace, Some.Account, TimeSpan.FromDays(2)));
        await bench.PassAsync(TimeSpan.FromMilliseconds(100));
        await bench.StatusAsync(s => s is { Condition: IdentityCondition.Good, Advice: "", Trouble: "" });
        Assert.Equal(1, bench.CountLogged("nothing else can prove"));
    }

    [Fact]
    public async Task A_refusal_is_one_line_with_reason_and_fix_and_no_other_until_something_changes()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        bench.WriteToken(bench.Istiod.Tokens.Make(Some.Namespace, Some.Account, audience: "vault"));
        await bench.StartAsync();
        IdentityStatus status = await bench.UntilAsync(s => s.Failures >= 4);
        Assert.StartsWith("no workload certificate: the token in", status.Trouble, StringComparison.Ordinal);
        Assert.Single(bench.Log.Lines, l => l.Contains("is for audience vault", StringComparison.Ordinal));
        Assert.True(bench.Logged("Warning sds failed to warm certificate: failed to generate workload certificate: create certificate: rpc error: code = Unauthenticated desc = request authenticate failure: the token in"));
        Assert.False(bench.Access.Tell(status.Advice)); // a stream that meets the same says nothing
        bench.WriteToken();
        await bench.PassAsync(TimeSpan.FromMilliseconds(100));
        await bench.UntilAsync(s => s.Condition == IdentityCondition.Good);
        Assert.Equal(1, bench.CountLogged("signing works again after"));
        Assert.True(bench.Access.Tell(status.Advice)); // istiod has answered since: news again
    }

    [Fact]
    public async Task Streams_wait_for_what_the_first_operation_says()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        Assert.True(bench.Access.Tell("before the start"));
        await bench.StartAsync();
        await bench.IssuedAsync();
        Assert.True(bench.Access.Tell("afterwards"));
        bench.Access.News.Hold();
        Assert.False(bench.Access.Tell("meanwhile"));
    }

    [Fact]
    public async Task Mounted_certificates_that_nobody_replaces_raise_the_alarm_and_are_copied_to_OUTPUT_CERTS()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        FakeCa ca = bench.Istiod.CertificateAuthority;
        string folder = bench.Folder.At("mounted"), output = bench.Folder.At("out");
        Directory.CreateDirectory(output);
        ca.Issue(Some.Id, TimeSpan.FromHours(24)).WriteTo(folder);
        bench.Options = bench.Options with { Mounted = MountedFiles.In(folder), OutputDirectory = output };
        bench.Boot();
        await bench.FirstAsync();
        await bench.UntilAsync(s => s.Condition == IdentityCondition.Lapsing, TimeSpan.FromMinutes(20));
        Assert.Equal(bench.Secrets.Current!.KeyPem, File.ReadAllText(Path.Combine(output, "key.pem"))); // whoever waits for the files there gets them
        Assert.InRange(bench.Secrets.Current.NotAfter - bench.AgentTime.GetUtcNow(), TimeSpan.FromHours(5), TimeSpan.FromHours(6.1));
        await bench.UntilAsync(s => s.Condition == IdentityCondition.Lapsed, TimeSpan.FromMinutes(20));
        Assert.Equal(2, bench.CountLogged("nobody has replaced it"));
        Issued fresh = ca.Issue(Some.Id, TimeSpan.FromHours(24));
        fresh.WriteTo(folder);
        await bench.PassAsync(TimeSpan.FromMilliseconds(100));
        await bench.StatusAsync(s => s is { Condition: IdentityCondition.Good, Trouble: "", Source: "files" });
    }

    [Theory]
    [InlineData(-3600, "behind")]
    [InlineData(7200, "ahead of")]
    public async Task A_clock_that_a_gateway_shows_to_be_off_is_named_before_the_refusal_it_explains(int seconds, string direction)
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync(new IstiodOptions { SendsDate = true }, TimeSpan.FromSeconds(seconds));
        FakeCaOptions fresh = bench.Istiod.CertificateAuthority.Options;
        bench.Istiod.CertificateAuthority.Options = fresh with { BackDate = TimeSpan.FromDays(1) };
        bench.Istiod.Tls.Reissue(TimeSpan.FromDays(3000));
        bench.WriteToken(bench.Istiod.Tokens.Make(Some.Namespace, Some.Account, audience: "vault"));
        await bench.StartAsync();
        IdentityStatus status = await bench.StatusAsync(s => s.Failures == 1);
        Assert.StartsWith($"this clock is {(seconds < 0 ? "1h" : "2h")}0m0s {direction} istiod's. Set it", status.Advice, StringComparison.Ordinal);
        Assert.Contains("is for audience vault", status.Advice, StringComparison.Ordinal); // the token is judged by istiod's clock: not "expired", not "not yet valid"
    }

    private static async Task<IdentityStatus> FirstStatusAsync(RotatorBench bench)
    {
        await bench.FirstAsync();
        return await bench.StatusAsync(s => s.Condition == IdentityCondition.Good);
    }
}
