using VmSidecar.Commands;
using VmSidecar.Lifecycle;
using VmSidecar.TestKit;
using VmSidecar.Tests.Configuration;

using Xunit;

namespace VmSidecar.Tests.Commands;

/// <summary><c>vmsidecar check</c>: every setting with its origin, every mistake, no secret, nothing touched.</summary>
public sealed class CheckCommandTests
{
    private static readonly DateTimeOffset s_valid = new(2026, 11, 22, 23, 30, 0, TimeSpan.Zero);

    [Fact]
    public async Task Shows_each_setting_with_its_origin()
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar("# mine\nSECRET_TTL=1h\n");
        (_, string output) = await RunAsync(host);
        AssertLine(output, "SECRET_TTL", "3600s", host.Paths.SidecarEnv + ":2");
        AssertLine(output, "discoveryAddress", "istiod.istio-system.svc:15012", host.Paths.Mesh + ":2");
        AssertLine(output, "SERVICE_ACCOUNT", "vm-sa", host.Paths.ClusterEnv + ":18");
        AssertLine(output, "ISTIO_INBOUND_PORTS", "8080", host.Paths.ClusterEnv + ":3");
        AssertLine(output, "drainDuration", "45s", "default");
        AssertLine(output, "token file", host.Paths.Token, "default");
        AssertLine(output, "proxyAdminPort", "15000", "default");
        AssertLine(output, "POD_NAME", "vm1", "host name");
        AssertLine(output, "node id", "sidecar~10.0.0.12~vm1.vm-ns~vm-ns.svc.cluster.local", "computed");
    }

    [Fact]
    public async Task Is_content_with_a_host_that_is_ready()
    {
        using TestHost host = Ready();
        (ExitCode code, string output) = await RunAsync(host);
        Assert.Equal((ExitCode.Stopped, true), (code, output.EndsWith("\nOK\n", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task Touches_nothing()
    {
        using TestHost host = Ready();
        string[] before = [.. Snapshot(host)];
        await RunAsync(host);
        Assert.Equal(before, Snapshot(host));
    }

    [Fact]
    public async Task Lists_the_mistakes_of_all_files_at_once_and_ends_with_78()
    {
        using TestHost host = TestHost.WithFixture("1.31")
            .Write("etc/resolv.conf", "nameserver 10.0.0.53\n")
            .Sidecar("SECRET_TTL=soon\nX=a b\nENVOY_STATUS_PORT=15O21\nINBOUND_CAPTURE_PORT=0\n")
            .Mesh("defaultConfig:\n  discoveryAddress: istiod\n  drainDuration: long\n  proxyMetadata: [a]\n");
        (ExitCode code, string output) = await RunAsync(host);
        Assert.Equal(ExitCode.Configuration, code);
        Assert.Contains($"{host.Paths.SidecarEnv}:1: SECRET_TTL: 'soon' is not a duration. Use forms such as 300ms, 45s or 1h30m", output, StringComparison.Ordinal);
        Assert.Contains($"{host.Paths.SidecarEnv}:2: X: 'b' stands apart", output, StringComparison.Ordinal);
        Assert.Contains($"{host.Paths.SidecarEnv}:3: ENVOY_STATUS_PORT: '15O21' is not a port. Use a whole number from 1 to 65535", output, StringComparison.Ordinal);
        Assert.Contains($"{host.Paths.Mesh}:2: discoveryAddress: 'istiod' is not host:port.", output, StringComparison.Ordinal);
        Assert.Contains($"{host.Paths.Mesh}:3: drainDuration: 'long' is not a duration.", output, StringComparison.Ordinal);
        Assert.Contains($"{host.Paths.Mesh}:4: proxyMetadata: is not a mapping of names to texts.", output, StringComparison.Ordinal);
        Assert.Contains($"{host.Paths.SidecarEnv}:4: INBOUND_CAPTURE_PORT: ", output, StringComparison.Ordinal);
        Assert.Contains("8 to correct", output, StringComparison.Ordinal);
    }

    /// <summary>One look is enough: a wrong setting does not hide a wrong file, and makes up no mistake of its own.</summary>
    [Fact]
    public async Task Files_of_the_host_are_looked_at_though_a_setting_is_wrong()
    {
        using TestHost host = Ready().Sidecar("ENVOY_STATUS_PORT=15O21\nSECRET_TTL=soon\n").Mesh("defaultConfig:\n  statusPort: 15021\n  discoveryAddress: istiod:15012\n");
        File.Delete(host.Paths.At("bin/envoy"));
        File.WriteAllText(host.Paths.At("etc/certs/root-cert.pem"), "no certificate");
        File.Delete(host.Paths.Token);
        (ExitCode code, string output) = await RunAsync(host);
        Assert.Equal(ExitCode.Configuration, code);
        Assert.Contains("ENVOY_STATUS_PORT: '15O21' is not a port", output, StringComparison.Ordinal);
        Assert.Contains($"{host.Paths.At("etc/certs/root-cert.pem")}: root certificate: holds no certificate", output, StringComparison.Ordinal);
        Assert.Contains($"{host.Paths.Token}: token: does not exist", output, StringComparison.Ordinal);
        Assert.Contains("no Envoy was found", output, StringComparison.Ordinal);
        Assert.DoesNotContain("share port", output, StringComparison.Ordinal);
        Assert.DoesNotContain("looked at once", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Never_shows_a_secret()
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar("XDS_HEADER_authorization='Bearer hunter2'\nCA_HEADER_X=hunter2\nISTIO_META_API_TOKEN=hunter2\n");
        (_, string output) = await RunAsync(host);
        Assert.DoesNotContain("hunter2", output, StringComparison.Ordinal);
        Assert.DoesNotContain(File.ReadAllText(host.Paths.Token)[..40], output, StringComparison.Ordinal);
        Assert.Contains("(hidden)", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_value_cannot_forge_lines()
    {
        using TestHost host = Ready().Sidecar("ISTIO_META_X=$'a\\nOK\\e[2J'\n");
        (_, string output) = await RunAsync(host);
        Assert.Contains("a\\x0aOK\\x1b[2J", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Misspelled_flags_are_named()
    {
        using TestHost host = Ready();
        (ExitCode code, string output) = await RunAsync(host, "--proxyLoglevel", "debug");
        Assert.Equal(ExitCode.Stopped, code);
        Assert.Contains("--proxyLoglevel: is not a flag of the agent; it is ignored. Write --proxyLogLevel", output, StringComparison.Ordinal);
    }

    /// <summary>The 1.31 files with an Envoy on PATH, and the time at which the recorded token was good.</summary>
    private static TestHost Ready()
    {
        TestHost host = TestHost.WithFixture("1.31").Write("bin/envoy", "#!/bin/sh\n")
            .Write("etc/passwd", "istio-proxy:x:997:996::/var/lib/istio:/usr/sbin/nologin\n").Write("etc/resolv.conf", "nameserver 10.0.0.53\n");
        File.SetUnixFileMode(host.Paths.At("bin/envoy"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        host.Inherited["PATH"] = host.Paths.At("bin");
        return host;
    }

    private static IEnumerable<string> Snapshot(TestHost host) =>
        Directory.EnumerateFileSystemEntries(host.Paths.Root, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal).Select(f => $"{f} {File.GetLastWriteTimeUtc(f):O}");

    private static async Task<(ExitCode, string)> RunAsync(TestHost host, params string[] arguments)
    {
        using var output = new StringWriter { NewLine = "\n" };
        ExitCode code = await CheckCommand.RunAsync(host.Paths, host.Inherited, arguments, host.Network, new ManualTimeProvider(s_valid), output);
        return (code, output.ToString());
    }

    private static void AssertLine(string output, string name, string value, string origin) =>
        Assert.Contains(output.Split('\n'), line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries) is var words
            && string.Join(' ', words) == $"{name} {value} {origin}");
}
