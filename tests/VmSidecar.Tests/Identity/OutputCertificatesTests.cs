using VmSidecar.Identity;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Pki;

using Xunit;

namespace VmSidecar.Tests.Identity;

public sealed class OutputCertificatesTests : IDisposable
{
    private const UnixFileMode Owner = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private static readonly string[] Files = ["key.pem", "cert-chain.pem", "root-cert.pem"];
    private readonly ManualTimeProvider _time = new();
    private readonly Folder _folder = new();
    private readonly ListLog _log = new();
    private readonly FakeCa _ca;

    public OutputCertificatesTests() => _ca = new FakeCa(_time);

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(false, Owner)]
    [InlineData(true, Owner | UnixFileMode.GroupRead | UnixFileMode.OtherRead)]
    public async Task Writes_three_files_with_the_modes_asked_for_and_nothing_else_readable(bool world, UnixFileMode mode)
    {
        var options = Some.Options(_folder) with { OutputWorldReadable = world };
        var files = new OutputCertificates(options, new ProvidedRoots(options), _log.CreateLogger("cache"));
        await files.WriteAsync(Secrets(), CancellationToken.None);
        foreach (string name in Files) { Assert.Equal(mode, File.GetUnixFileMode(_folder.At(name))); }
        Assert.Equal(Owner, File.GetUnixFileMode(_folder.At(".pair.pem")));
        Assert.DoesNotContain(Directory.EnumerateFiles(_folder.Path), f => f.EndsWith(".tmp", StringComparison.Ordinal));
    }

    [Fact]
    public async Task An_unchanged_set_is_not_rewritten_and_a_missing_folder_is_said_once()
    {
        OutputCertificates files = Files_();
        WorkloadSecrets secrets = Secrets();
        await files.WriteAsync(secrets, CancellationToken.None);
        DateTime written = File.GetLastWriteTimeUtc(_folder.At("key.pem"));
        File.SetLastWriteTimeUtc(_folder.At("key.pem"), written.AddHours(-1));
        await files.WriteAsync(secrets, CancellationToken.None);
        Assert.Equal(written.AddHours(-1), File.GetLastWriteTimeUtc(_folder.At("key.pem")));

        var options = Some.Options(_folder) with { OutputDirectory = _folder.At("none") };
        var lost = new OutputCertificates(options, new ProvidedRoots(options), _log.CreateLogger("cache"));
        await lost.WriteAsync(secrets, CancellationToken.None);
        await lost.WriteAsync(secrets, CancellationToken.None);
        Assert.Single(_log.Lines, l => l.Contains("error when output the resource", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_set_that_is_still_good_is_loaded_again()
    {
        WorkloadSecrets secrets = Secrets();
        await Files_().WriteAsync(secrets, CancellationToken.None);
        (WorkloadSecrets? found, string reason) = await Files_().LoadAsync(_time.GetUtcNow(), CancellationToken.None);
        Assert.Equal("", reason);
        Assert.Equal((secrets.ChainPem, secrets.KeyPem, secrets.NotAfter), (found!.ChainPem, found.KeyPem, found.NotAfter));
    }

    [Theory]
    [InlineData("expired", "it has expired at")]
    [InlineData("other", "it is for another identity")]
    [InlineData("root", "it does not lead to root-cert.pem")]
    [InlineData("nothing", "")]
    public async Task A_set_that_is_not_good_is_not_loaded_and_says_why(string state, string expected)
    {
        if (state != "nothing")
        {
            Issued issued = _ca.Issue(state == "other" ? Some.Id + "2" : Some.Id, TimeSpan.FromHours(1));
            issued.WriteTo(_folder.Path);
            if (state == "root") { File.WriteAllText(_folder.At("root-cert.pem"), new FakeCa(_time).RootsPem); }
            if (state == "expired") { _time.Advance(TimeSpan.FromHours(2)); }
        }
        (WorkloadSecrets? found, string reason) = await Files_().LoadAsync(_time.GetUtcNow(), CancellationToken.None);
        Assert.Null(found);
        Assert.StartsWith(expected, reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_crash_between_key_and_chain_is_put_right_at_the_next_start()
    {
        await Files_().WriteAsync(Secrets(), CancellationToken.None);
        string oldChain = File.ReadAllText(_folder.At("cert-chain.pem"));
        WorkloadSecrets second = Secrets();
        await Files_().WriteAsync(second, CancellationToken.None);
        File.WriteAllText(_folder.At("cert-chain.pem"), oldChain); // key.pem is new, cert-chain.pem is old
        (WorkloadSecrets? found, _) = await Files_().LoadAsync(_time.GetUtcNow(), CancellationToken.None);
        Assert.Equal(second.KeyPem, found!.KeyPem);
        Assert.Equal(second.ChainPem, File.ReadAllText(_folder.At("cert-chain.pem")));
        Assert.Contains(_log.Lines, l => l.Contains("did not belong together", StringComparison.Ordinal));
    }

    [Fact]
    public async Task What_an_operator_deletes_stays_deleted()
    {
        await Files_().WriteAsync(Secrets(), CancellationToken.None);
        File.Delete(_folder.At("key.pem"));
        File.Delete(_folder.At("cert-chain.pem"));
        (WorkloadSecrets? found, _) = await Files_().LoadAsync(_time.GetUtcNow(), CancellationToken.None);
        Assert.Null(found);
        Assert.False(File.Exists(_folder.At("key.pem")));
    }

    [Fact]
    public async Task The_root_that_verifies_istiod_outlives_its_file_until_the_operator_replaces_it()
    {
        var options = Some.Options(_folder);
        string provided = new FakeCa(_time).RootsPem, replaced = new FakeCa(_time).RootsPem, root = _folder.At("root-cert.pem");
        File.WriteAllText(root, provided);
        var kept = new ProvidedRoots(options);
        var files = new OutputCertificates(options, kept, _log.CreateLogger("cache"));
        Assert.Empty(kept.For(root));
        await files.WriteAsync(Secrets(), CancellationToken.None);
        Assert.Equal([provided], kept.For(root));
        Assert.Equal([provided], new ProvidedRoots(options).For(root)); // also after a restart
        Assert.Empty(kept.For(_folder.At("elsewhere.pem")));
        File.WriteAllText(root, replaced);
        Assert.Empty(kept.For(root)); // withdrawn
        await files.WriteAsync(Secrets(), CancellationToken.None);
        Assert.Equal([replaced], kept.For(root));
    }

    private OutputCertificates Files_() => new(Some.Options(_folder), new ProvidedRoots(Some.Options(_folder)), _log.CreateLogger("cache"));

    private WorkloadSecrets Secrets()
    {
        Issued issued = _ca.Issue(Some.Id, TimeSpan.FromHours(24));
        return new WorkloadSecrets(issued.ChainPem, issued.KeyPem, PemBundle.Merge(_ca.RootsPem), _time.GetUtcNow(), _time.GetUtcNow().AddHours(24), _time.GetUtcNow(), "1");
    }
}
