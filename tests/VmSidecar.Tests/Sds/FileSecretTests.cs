using VmSidecar.Grpc;
using VmSidecar.Proto.Tls;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Pki;
using VmSidecar.Tests.Identity;

using Xunit;

namespace VmSidecar.Tests.Sds;

/// <summary>Mounted certificates through a real socket and real file events.</summary>
public sealed class FileSecretTests
{
    private readonly FakeCa _ca = new(TimeProvider.System);

    [Fact]
    public async Task A_mounted_certificate_is_served_and_pushed_through_fifty_swaps_of_its_link()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        Issued[] issued = [.. Enumerable.Range(0, 51).Select(i => _ca.Issue(Some.Id + i, TimeSpan.FromHours(1)))];
        issued[0].WriteTo(bench.Folder.At("mnt", "v0"));
        Directory.CreateSymbolicLink(bench.Folder.At("mnt", "..data"), "v0");
        foreach (string file in new[] { "cert-chain.pem", "key.pem", "root-cert.pem" }) { File.CreateSymbolicLink(bench.Folder.At("mnt", file), "..data/" + file); }
        await using SdsClient pair = await bench.ConnectAsync(), root = await bench.ConnectAsync();
        string name = "file-cert:/mnt/cert-chain.pem~/mnt/key.pem";
        await pair.AskAsync([name]);
        await root.AskAsync(["file-root:/mnt/root-cert.pem"]);
        Assert.Equal(_ca.RootsPem, SdsClient.Text(SdsClient.Of(await root.NextAsync())[0].ValidationContext.TrustedCa));
        for (int version = 0; ; version++)
        {
            Secret secret = SdsClient.Of(await pair.NextAsync())[0];
            Assert.Equal(name, secret.Name);
            Assert.Equal(issued[version].KeyPem, SdsClient.Text(secret.TlsCertificate.PrivateKey));
            Assert.Equal(issued[version].ChainPem, SdsClient.Text(secret.TlsCertificate.CertificateChain));
            if (version == 50) { break; }
            issued[version + 1].WriteTo(bench.Folder.At("mnt", $"v{version + 1}"));
            Directory.CreateSymbolicLink(bench.Folder.At("mnt", "..tmp"), $"v{version + 1}");
            Links.Rename(bench.Folder.At("mnt", "..tmp"), bench.Folder.At("mnt", "..data"));
        }
        Assert.True(bench.Log.Lines.Count(l => l.Contains("cache read certificate from file\tresource=file-cert:", StringComparison.Ordinal)) == 51);
    }

    [Fact]
    public async Task A_pair_that_does_not_match_yet_is_not_pushed()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        Issued one = _ca.Issue(Some.Id, TimeSpan.FromHours(1)), two = _ca.Issue(Some.Id, TimeSpan.FromHours(1));
        one.WriteTo(bench.Folder.At("c"));
        await using SdsClient envoy = await bench.ConnectAsync();
        await envoy.AskAsync(["file-cert:/c/cert-chain.pem~/c/key.pem"]);
        await envoy.NextAsync();
        File.WriteAllText(bench.Folder.At("c", "key.pem"), two.KeyPem);
        await bench.LoggedAsync("failed to generate secret for proxy from file");
        File.WriteAllText(bench.Folder.At("c", "cert-chain.pem"), two.ChainPem);
        Assert.Equal(two.KeyPem, SdsClient.Text(SdsClient.Of(await envoy.NextAsync())[0].TlsCertificate.PrivateKey)); // the next thing heard
    }

    [Fact]
    public async Task A_file_that_comes_late_is_answered_when_it_comes()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        await using SdsClient envoy = await bench.ConnectAsync();
        await envoy.AskAsync(["file-root:/late/root.pem"]);
        await bench.TakenAsync(1);
        Directory.CreateDirectory(bench.Folder.At("late"));
        File.WriteAllText(bench.Folder.At("late", "root.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + _ca.RootsPem);
        Assert.Equal(_ca.RootsPem, SdsClient.Text(SdsClient.Of(await envoy.NextAsync())[0].ValidationContext.TrustedCa)); // without the broken one
    }

    [Fact]
    public async Task A_file_that_never_comes_ends_the_stream_with_the_cause()
    {
        var time = new ManualTimeProvider();
        await using SdsBench bench = await SdsBench.StartedAsync(time: time);
        await using SdsClient envoy = await bench.ConnectAsync();
        await envoy.AskAsync(["file-cert:/no/c.pem~/no/k.pem"]);
        await bench.TakenAsync(1);
        while (await time.NextTimerAsync(Test.Deadline) != TimeSpan.FromSeconds(30)) { }
        await time.NextTimerAsync(Test.Deadline); // the hold, beside the regular look
        time.Advance(TimeSpan.FromSeconds(30));
        GrpcStatus end = await envoy.EndAsync();
        Assert.Equal(GrpcStatusCode.Unknown, end.Code);
        Assert.Contains("failed to generate secret for file-cert:/no/c.pem~/no/k.pem: open ", end.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Feeds_end_with_the_last_stream()
    {
        await using SdsBench bench = await SdsBench.StartedAsync();
        _ca.Issue(Some.Id, TimeSpan.FromHours(1)).WriteTo(bench.Folder.At("c"));
        for (int round = 0; round < 2; round++)
        {
            await using SdsClient a = await bench.ConnectAsync(), b = await bench.ConnectAsync();
            await a.AskAsync(["file-root:/c/root-cert.pem"]);
            await b.AskAsync(["file-root:/c/root-cert.pem"]);
            await a.NextAsync();
            await b.NextAsync();
            await a.AskAsync([]);
            await b.AskAsync([]);
            await bench.TakenAsync(4 * (round + 1));
        }
        Assert.Equal(2, bench.Log.Lines.Count(l => l.Contains("adding watcher for file certificate", StringComparison.Ordinal)));
    }
}
