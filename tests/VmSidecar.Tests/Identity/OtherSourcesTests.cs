using VmSidecar.Configuration;
using VmSidecar.Grpc;
using VmSidecar.Identity;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Authentication;
using VmSidecar.TestKit.Pki;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Identity;

/// <summary>Identities and credentials that do not come the usual way, and the xDS side of the credential ladder.</summary>
public sealed class OtherSourcesTests
{
    [Fact]
    public async Task A_command_that_prints_a_token_is_run_at_start_and_before_its_token_ends()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        File.Delete(bench.Options.TokenFile!);
        File.WriteAllText(bench.Folder.At("printed"), bench.Istiod.Tokens.Make(Some.Namespace, Some.Account));
        bench.Options = bench.Options with { TokenSource = TokenSourceKind.Exec, TokenCommand = ["cat", bench.Folder.At("printed")], OutputDirectory = null };
        bench.Boot();
        await bench.FirstAsync();
        Assert.Equal("Bearer " + File.ReadAllText(bench.Folder.At("printed")), bench.Istiod.Ca.Calls.Single().Authorization);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(bench.Options.TokenFile!));
        bench.AgentTime.Jump(TimeSpan.FromMinutes(36)); // 24 minutes are left
        string second = bench.Istiod.Tokens.Make(Some.Namespace, Some.Account);
        File.WriteAllText(bench.Folder.At("printed"), second);
        while (File.ReadAllText(bench.Options.TokenFile!) != second) { bench.Advance(await bench.NextSleepAsync()); }
        Assert.False(bench.Logged(second));
    }

    [Theory]
    [InlineData("/no/such/program", "is not installed")]
    [InlineData("true", "its output is no JWT")]
    [InlineData("false", "exit code 1")]
    public async Task A_command_that_fails_is_told_once(string program, string expected)
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        File.Delete(bench.Options.TokenFile!);
        bench.Options = bench.Options with { TokenSource = TokenSourceKind.Exec, TokenCommand = [program] };
        bench.Boot();
        await bench.StartAsync();
        await bench.UntilAsync(s => s.Failures >= 3, TimeSpan.FromSeconds(40));
        Assert.Equal(1, bench.CountLogged("fetch platform credential"));
        Assert.True(bench.Logged(expected));
    }

    [Fact]
    public async Task Mounted_certificates_are_the_identity_and_follow_their_files()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        FakeCa ca = bench.Istiod.CertificateAuthority;
        Issued one = ca.Issue(Some.Id, TimeSpan.FromHours(24)), two = ca.Issue(Some.Id, TimeSpan.FromHours(24));
        string folder = bench.Folder.At("mounted");
        one.WriteTo(folder);
        bench.Options = bench.Options with { FileMounted = true, Mounted = MountedFiles.In(folder), ProvisionedDirectory = null, OutputDirectory = null };
        bench.Boot();
        WorkloadSecrets first = await bench.FirstAsync();
        Assert.Equal((one.ChainPem, one.KeyPem, PemBundle.Merge(ca.RootsPem)), (first.ChainPem, first.KeyPem, first.RootsPem));
        (_, Task changed) = bench.Secrets.Watch();
        File.WriteAllText(bench.Folder.At("mounted", "key.pem"), two.KeyPem); // not a pair yet
        await bench.PassAsync(TimeSpan.FromMilliseconds(100));
        await bench.StatusAsync(s => s.LastError.Length > 0);
        Assert.False(changed.IsCompleted);
        File.WriteAllText(bench.Folder.At("mounted", "cert-chain.pem"), two.ChainPem);
        await bench.PassAsync(TimeSpan.FromMilliseconds(100));
        await changed.WaitAsync(Test.Deadline);
        Assert.Equal(two.KeyPem, bench.Secrets.Current!.KeyPem);
        Assert.Equal(0, bench.Calls);
        using CertificatePair? shown = bench.Access.LoadPair(out _, out _);
        Assert.Equal(two.KeyPem, shown!.KeyPem); // also what istiod is shown
    }

    [Fact]
    public async Task The_roots_of_the_mesh_file_are_served_too()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        string extra = new FakeCa(bench.Time).RootsPem;
        bench.Options = bench.Options with { ExtraRoots = [extra] };
        bench.Boot();
        Assert.Equal(PemBundle.Merge(extra, bench.Istiod.RootsPem), (await bench.FirstAsync()).RootsPem);
    }

    [Theory]
    [InlineData(System.Security.Authentication.SslProtocols.Tls12)]
    [InlineData(System.Security.Authentication.SslProtocols.Tls13)]
    public async Task A_stream_whose_certificate_was_refused_comes_back_with_the_token(System.Security.Authentication.SslProtocols tls)
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync(new() { Protocols = tls });
        new FakeCa(bench.Time).Issue(Some.Id, TimeSpan.FromHours(24)).WriteTo(bench.Folder.Path);
        File.WriteAllText(bench.Folder.At("root-cert.pem"), bench.Istiod.RootsPem);
        var dialer = new IstiodDialer(bench.Access, bench.Istiod.Target, 1024 * 1024);
        GrpcStatusCode first = GrpcStatusCode.OK;
        try
        {
            await using IGrpcClientCall refused = await dialer.OpenAsync(AdsService.Sotw, CancellationToken.None);
            Assert.Null(await refused.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline));
            first = refused.Status.Code;
        }
        catch (GrpcException e) { first = e.Status.Code; }
        Assert.Equal(GrpcStatusCode.Unavailable, first);
        await using IGrpcClientCall second = await dialer.OpenAsync(AdsService.Sotw, CancellationToken.None);
        await second.SendAsync(new byte[] { 0x0A, 0x00 }, CancellationToken.None); // a request without a node
        Assert.Null(await second.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline));
        Assert.Equal(GrpcStatusCode.InvalidArgument, second.Status.Code); // it was let in and heard
    }

    [Fact]
    public async Task A_token_that_survives_a_reboot_is_used_when_the_other_is_gone()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        File.Move(bench.Options.TokenFile!, bench.Folder.At("kept"));
        bench.Options = bench.Options with { PersistentTokenFile = bench.Folder.At("kept") };
        bench.Boot();
        await bench.FirstAsync();
        Assert.Equal("Bearer " + File.ReadAllText(bench.Folder.At("kept")), bench.Istiod.Ca.Calls.Single().Authorization);
    }

    [Fact]
    public async Task An_istiod_that_is_not_ready_is_not_taken_for_one_that_refuses_the_certificate()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        await bench.FirstAsync();
        bench.Advance(TimeSpan.FromHours(2)); // the token has ended, as on every VM after its first hour
        bench.Istiod.IsReady = false;
        var dialer = new IstiodDialer(bench.Access, bench.Istiod.Target, 1024 * 1024);
        await using (IGrpcClientCall early = await dialer.OpenAsync(AdsService.Sotw, CancellationToken.None))
        {
            Assert.Null(await early.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline));
            Assert.Equal(GrpcStatusCode.Unavailable, early.Status.Code);
        }
        bench.Istiod.IsReady = true;
        await using IGrpcClientCall second = await dialer.OpenAsync(AdsService.Sotw, CancellationToken.None);
        await second.SendAsync(new byte[] { 0x0A, 0x00 }, CancellationToken.None);
        Assert.Null(await second.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline));
        Assert.Equal(GrpcStatusCode.InvalidArgument, second.Status.Code); // let in by its certificate
        Assert.False(bench.Logged("istiod refused the client certificate"));
    }

    [Fact]
    public async Task A_ca_that_cannot_sign_now_is_shown_the_certificate_again()
    {
        await using RotatorBench bench = await RotatorBench.ProvisionedAsync();
        await bench.FirstAsync();
        for (int i = 0; i < 2; i++) { bench.Istiod.Ca.Scripts.Enqueue(new CaScript.Fail(GrpcStatusCode.Unavailable, "CA is not ready")); }
        await bench.UntilAsync(_ => bench.Calls >= 4);
        Assert.All(bench.Istiod.Ca.Calls.Skip(1), c => Assert.NotNull(c.ClientCertificate));
        Assert.False(bench.Logged("istiod refused the client certificate"));
    }
}
