using System.Formats.Tar;
using System.IO.Compression;

using VmSidecar.Commands;
using VmSidecar.Configuration;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Files;
using VmSidecar.TestKit.Onboarding;
using VmSidecar.TestKit.Pki;
using VmSidecar.Tests.Configuration;

using Xunit;

namespace VmSidecar.Tests.Commands;

/// <summary><c>vmsidecar enroll</c>: istioctl's files go to their places, all or none, once or often.</summary>
public sealed class EnrollCommandTests : IDisposable
{
    private static readonly string[] s_names = ["root-cert.pem", "istio-token", "cluster.env", "mesh.yaml", "hosts"];
    private readonly string _folder = Directory.CreateTempSubdirectory("vsc-enroll-").FullName;
    private readonly HostPaths _paths;

    public EnrollCommandTests()
    {
        _paths = new HostPaths(Directory.CreateDirectory(Path.Combine(_folder, "root")).FullName);
        File.WriteAllText(Path.Combine(Directory.CreateDirectory(_paths.At("etc")).FullName, "resolv.conf"), "nameserver 10.0.0.53\n");
        File.WriteAllText(_paths.Hosts, "127.0.0.1 localhost\n");
        Files().WriteTo(From);
    }

    private string From => Path.Combine(_folder, "files");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Puts_each_file_in_its_place_and_a_second_time_changes_nothing_more()
    {
        (ExitCode code, string output) = await RunAsync(From);
        Assert.True(code == ExitCode.Stopped, output);
        Assert.Equal(File.ReadAllText(Path.Combine(From, "istio-token")), File.ReadAllText(_paths.Token));
        Assert.Equal((UnixFileMode)0b110_000_000, File.GetUnixFileMode(_paths.Token));
        Assert.Equal((UnixFileMode)0b110_100_100, File.GetUnixFileMode(_paths.ClusterEnv));
        Assert.False(File.Exists(_paths.PersistentToken));
        Assert.Equal("127.0.0.1 localhost\n10.0.0.1 istiod.istio-system.svc\n", File.ReadAllText(_paths.Hosts));
        Assert.True(Directory.Exists(_paths.ProxyDirectory));
        ConfigLoad load = ConfigLoad.Read(_paths, new Dictionary<string, string>(), CommandLineFlags.None, new FakeNetwork("10.0.0.12"));
        Assert.DoesNotContain(load.Errors, e => !e.IsWarning);
        (code, output) = await RunAsync(From);
        Assert.Equal(ExitCode.Stopped, code);
        Assert.Contains("has istiod.istio-system.svc 10.0.0.1 already", output, StringComparison.Ordinal);
        Assert.Equal("127.0.0.1 localhost\n10.0.0.1 istiod.istio-system.svc\n", File.ReadAllText(_paths.Hosts));
    }

    [Theory]
    [InlineData("tar")]
    [InlineData("tar.gz")]
    [InlineData("zip")]
    public async Task Takes_an_archive_whatever_folders_are_in_it(string kind)
    {
        string archive = Path.Combine(_folder, "files." + kind);
        if (kind == "zip") { await ZipFile.CreateFromDirectoryAsync(From, archive, CompressionLevel.Optimal, includeBaseDirectory: true, TestContext.Current.CancellationToken); }
        else
        {
            await using FileStream file = File.Create(archive);
            await using Stream target = kind == "tar" ? file : new GZipStream(file, CompressionLevel.Optimal);
            await TarFile.CreateFromDirectoryAsync(From, target, includeBaseDirectory: true, TestContext.Current.CancellationToken);
        }
        (ExitCode code, string output) = await RunAsync(archive, keepToken: true);
        Assert.True(code == ExitCode.Stopped, output);
        Assert.Equal(File.ReadAllText(Path.Combine(From, "mesh.yaml")), File.ReadAllText(_paths.Mesh));
        Assert.Equal((UnixFileMode)0b110_000_000, File.GetUnixFileMode(_paths.PersistentToken));
    }

    [Fact]
    public async Task An_archive_cannot_write_anywhere_else_nor_fill_the_memory()
    {
        string archive = Path.Combine(_folder, "evil.tar");
        await using (var tar = new TarWriter(File.Create(archive)))
        {
            await tar.WriteEntryAsync(new PaxTarEntry(TarEntryType.SymbolicLink, "istio-token") { LinkName = "/etc/shadow" }, TestContext.Current.CancellationToken);
            await tar.WriteEntryAsync(new PaxTarEntry(TarEntryType.RegularFile, "../../../etc/evil") { DataStream = new MemoryStream([1]) }, TestContext.Current.CancellationToken);
            await tar.WriteEntryAsync(new PaxTarEntry(TarEntryType.RegularFile, "x/cluster.env") { DataStream = new MemoryStream(new byte[2 << 20]) }, TestContext.Current.CancellationToken);
        }
        (ExitCode code, string output) = await RunAsync(archive);
        Assert.Equal(ExitCode.Configuration, code);
        Assert.Contains("cluster.env is larger than 1024 KiB", output, StringComparison.Ordinal);
        Assert.Contains("missing in", output, StringComparison.Ordinal);
        Assert.False(File.Exists(_paths.ClusterEnv));
        Assert.False(File.Exists(_paths.Token));
    }

    [Fact]
    public async Task As_root_it_follows_no_folder_link_of_another_user()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "only root can make links of others");
        string elsewhere = Directory.CreateDirectory(Path.Combine(_folder, "elsewhere")).FullName, link = _paths.At("var/lib/istio/envoy");
        Directory.CreateDirectory(_paths.At("var/lib/istio"));
        Directory.CreateSymbolicLink(link, elsewhere);
        Ownership.Give(link, 1234, 1234);
        (ExitCode code, string output) = await RunAsync(From);
        Assert.Equal(ExitCode.Fatal, code);
        Assert.Contains($"{link} is a link to {elsewhere}, and not root's", output, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(elsewhere));
        Assert.False(File.Exists(_paths.Token)); // nothing at all was placed

        Ownership.Give(link, 0, 0); // an administrator's own
        (code, output) = await RunAsync(From);
        Assert.True(code == ExitCode.Stopped, output);
        Assert.True(File.Exists(Path.Combine(elsewhere, "cluster.env")));
    }

    [Fact]
    public async Task Names_every_mistake_by_the_file_of_istioctl_and_changes_nothing()
    {
        File.WriteAllText(Path.Combine(From, "cluster.env"), "ISTIO_META_CLUSTER_ID='a'\nSECRET_TTL=soon\n");
        File.WriteAllText(Path.Combine(From, "mesh.yaml"), "defaultConfig:\n  discoveryAddress: istiod\n");
        string[] before = Directory.GetFileSystemEntries(_paths.Root, "*", SearchOption.AllDirectories);
        (ExitCode code, string output) = await RunAsync(From);
        Assert.Equal(ExitCode.Configuration, code);
        Assert.Contains("mistake: cluster.env:2: SECRET_TTL: 'soon' is not a duration", output, StringComparison.Ordinal);
        Assert.Contains("mistake: mesh.yaml:2: discoveryAddress: 'istiod' is not host:port", output, StringComparison.Ordinal);
        Assert.Contains("nothing was changed", output, StringComparison.Ordinal);
        Assert.Equal(before, Directory.GetFileSystemEntries(_paths.Root, "*", SearchOption.AllDirectories));
    }

    [Fact]
    public async Task An_expired_token_is_a_mistake_before_it_is_copied()
    {
        File.WriteAllText(Path.Combine(From, "istio-token"), new TokenMaker(TimeProvider.System).Make("vm-ns", "vm-sa", lifetime: TimeSpan.FromHours(1), notBefore: TimeProvider.System.GetUtcNow().AddHours(-3)));
        (ExitCode code, string output) = await RunAsync(From);
        Assert.Equal(ExitCode.Configuration, code);
        Assert.Contains("istio-token: token: expired on", output, StringComparison.Ordinal);
        Assert.DoesNotContain("vmsidecar-enroll-", output, StringComparison.Ordinal); // the folder aside
        Assert.False(File.Exists(_paths.Token));
    }

    [Theory]
    [InlineData("cluster.env")]
    [InlineData("istio-token")]
    [InlineData("hosts")]
    public async Task Says_what_is_missing(string name)
    {
        File.Delete(Path.Combine(From, name));
        (ExitCode code, string output) = await RunAsync(From);
        Assert.Equal(ExitCode.Configuration, code);
        Assert.StartsWith($"missing in {From}: {name}\nnothing was changed.", output, StringComparison.Ordinal);
        Assert.All(s_names.Where(n => n != name), n => Assert.DoesNotContain($": {n}\n", output, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("127.0.0.1 localhost\n", "10.0.0.1 istiod.svc\n", "127.0.0.1 localhost\n10.0.0.1 istiod.svc\n")]
    [InlineData("127.0.0.1 localhost", "10.0.0.1 istiod.svc", "127.0.0.1 localhost\n10.0.0.1 istiod.svc\n")] // no final line end
    [InlineData("10.0.0.1 istiod.svc # mesh\n", "10.0.0.1 istiod.svc\n", "10.0.0.1 istiod.svc # mesh\n")] // there already
    [InlineData("10.0.0.9 istiod.svc\n::1 istiod.svc\n", "10.0.0.1 istiod.svc\n", "::1 istiod.svc\n10.0.0.1 istiod.svc\n")] // an old address goes, the other family stays
    [InlineData("10.0.0.9 other ISTIOD.svc # two\n", "10.0.0.1 istiod.svc\n", "10.0.0.9 other # two\n10.0.0.1 istiod.svc\n")] // another name on the line stays
    [InlineData("#10.0.0.9 istiod.svc\n10.0.0.1 istiod.svc\n10.0.0.1 istiod.svc\n", "10.0.0.1 istiod.svc\n", "#10.0.0.9 istiod.svc\n10.0.0.1 istiod.svc\n")] // twice becomes once
    [InlineData("127.0.0.1 localhost\n", "\n", "127.0.0.1 localhost\n")]
    public void The_hosts_entry_is_there_once(string before, string wanted, string after) => Assert.Equal(after, HostsFile.With(before, wanted));

    private static OnboardingFiles Files() => new()
    {
        Group = "vm-app", Namespace = "vm-ns", ServiceAccount = "vm-sa", AutoRegister = true, IngressIp = "10.0.0.1",
        Token = new TokenMaker(TimeProvider.System).Make("vm-ns", "vm-sa"), RootPem = new FakeCa(TimeProvider.System).RootsPem,
    };

    private async Task<(ExitCode Code, string Output)> RunAsync(string from, bool keepToken = false)
    {
        using var output = new StringWriter();
        ExitCode code = await new EnrollCommand(_paths, new Dictionary<string, string>(), new FakeNetwork("10.0.0.12"), TimeProvider.System, output).RunAsync(from, keepToken, TestContext.Current.CancellationToken);
        return (code, output.ToString());
    }
}
