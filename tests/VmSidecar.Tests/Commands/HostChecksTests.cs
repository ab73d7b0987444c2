using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

using VmSidecar.Commands;
using VmSidecar.Configuration;
using VmSidecar.TestKit;
using VmSidecar.Tests.Configuration;

using Xunit;

namespace VmSidecar.Tests.Commands;

/// <summary>What would stop the agent on this host, each with its cause and cure.</summary>
public sealed class HostChecksTests
{
    private static readonly DateTimeOffset s_now = new(2026, 11, 22, 23, 30, 0, TimeSpan.Zero); // the recorded token and root are good then

    [Fact]
    public void A_ready_host_has_nothing_to_correct()
    {
        using TestHost host = Ready();
        Assert.Empty(Run(host));
    }

    [Theory]
    [InlineData(null, "does not exist")]
    [InlineData("", "holds no certificate")]
    [InlineData("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is not a PEM file of certificates")]
    public void A_root_that_cannot_verify_istiod_is_a_mistake(string? content, string problem)
    {
        using TestHost host = Ready();
        string path = Path.Combine(host.Paths.Certificates, "root-cert.pem");
        if (content is null) { File.Delete(path); } else { File.WriteAllText(path, content); }
        ConfigError error = Assert.Single(Run(host));
        Assert.Equal((path, problem, false, false), (error.File, error.Problem, error.IsWarning, error.IsMendable));
    }

    [Fact]
    public void An_expired_root_is_a_mistake_unless_another_in_the_file_is_good()
    {
        using TestHost host = Ready();
        string path = Path.Combine(host.Paths.Certificates, "root-cert.pem");
        string good = File.ReadAllText(path), expired = Certificate(s_now.AddDays(-9), s_now.AddDays(-1)).ExportCertificatePem();
        File.WriteAllText(path, expired + "\n" + good);
        Assert.Empty(Run(host));
        File.WriteAllText(path, expired);
        Assert.Equal("expired on 2026-11-21 23:30 UTC", Assert.Single(Run(host)).Problem);
    }

    [Fact]
    public void A_clock_that_is_behind_is_named_as_such()
    {
        using TestHost host = Ready();
        IReadOnlyList<ConfigError> found = Run(host, s_now.AddYears(-1));
        Assert.Equal(["is not valid yet: the host's clock is behind", "is not valid yet: the host's clock is behind"], found.Select(e => e.Problem));
        Assert.All(found, e => Assert.True(e.IsMendable));
    }

    [Theory]
    [InlineData(null, "does not exist")]
    [InlineData(" \n", "is empty")]
    [InlineData("abc", "is not a token (JWT)")]
    [InlineData("{\"aud\":[\"istio-ca\"],\"exp\":1700000000}", "expired on 2023-11-14 22:13 UTC")]
    [InlineData("{\"aud\":[\"other\"]}", "is made for other, not for istio-ca")]
    [InlineData("{\"aud\":[\"istio-ca\"],\"sub\":\"system:serviceaccount:vm-ns:default\"}", "belongs to vm-ns/default, but cluster.env says vm-ns/vm-sa")]
    public void A_token_istiod_would_refuse_is_explained(string? content, string problem)
    {
        using TestHost host = Ready();
        if (content is null) { File.Delete(host.Paths.Token); }
        else { File.WriteAllText(host.Paths.Token, content.StartsWith('{') ? Jwt(content) : content); }
        ConfigError error = Assert.Single(Run(host));
        Assert.Equal((host.Paths.Token, problem, false, true), (error.File, error.Problem, error.IsWarning, error.IsMendable));
    }

    [Fact]
    public void A_token_about_to_end_is_a_warning()
    {
        using TestHost host = Ready();
        ConfigError error = Assert.Single(Run(host, new DateTimeOffset(2026, 11, 23, 0, 20, 0, TimeSpan.Zero)));
        Assert.Equal(("expires at 00:23:14 UTC", true), (error.Problem, error.IsWarning));
    }

    [Fact]
    public void With_a_good_saved_certificate_the_token_does_not_matter()
    {
        using TestHost host = Ready();
        X509Certificate2 leaf = Certificate(s_now.AddHours(-1), s_now.AddHours(23));
        host.Write("etc/certs/cert-chain.pem", leaf.ExportCertificatePem()).Write("etc/certs/key.pem", "key");
        File.Delete(host.Paths.Token);
        Assert.Empty(Run(host));
        host.Write("var/run/secrets/tokens/istio-token", "");
        Assert.True(Assert.Single(Run(host)).IsWarning);
        File.Delete(host.Paths.Token);
        Assert.False(Assert.Single(Run(host, s_now.AddHours(24))).IsWarning); // the certificate has expired: now it does
    }

    [Fact]
    public void No_envoy_names_the_places_and_the_three_ways()
    {
        using TestHost host = Ready();
        host.Mesh("defaultConfig: {binaryPath: /nowhere/envoy}\n");
        host.Inherited["PATH"] = "/nonexistent";
        SidecarOptions options = host.Options();
        options = options with { Envoy = options.Envoy with { Binary = null } }; // whatever this machine has in /usr
        ConfigError error = Assert.Single(new HostChecks(options, new ManualTimeProvider(s_now)).Run());
        Assert.Equal("no Envoy was found (looked at /nowhere/envoy, /usr/local/bin/envoy, /usr/bin/envoy, /nonexistent/envoy)", error.Problem);
        Assert.Contains("set binaryPath", error.Fix, StringComparison.Ordinal);
        Assert.False(error.IsMendable); // the start ends with 78, which the unit does not retry
        Assert.Empty(new HostChecks(options with { Envoy = options.Envoy with { Enabled = false } }, new ManualTimeProvider(s_now)).Run());
    }

    [Theory]
    [InlineData("etc/certs/root-cert.pem", false)]
    [InlineData("var/run/secrets/tokens/istio-token", true)]
    public void A_folder_in_a_files_place_is_called_one(string file, bool mendable)
    {
        using TestHost host = Ready();
        File.Delete(host.Paths.At(file));
        Directory.CreateDirectory(host.Paths.At(file));
        ConfigError error = Assert.Single(Run(host));
        Assert.Equal(("is a folder", mendable, false), (error.Problem, error.IsMendable, error.IsToldLater));
        Assert.StartsWith("Remove it. ", error.Fix, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("no.token")]
    public void A_token_that_identity_will_complain_about_is_left_to_it_by_a_start(string? token)
    {
        using TestHost host = Ready();
        if (token is null) { File.Delete(host.Paths.Token); } else { File.WriteAllText(host.Paths.Token, token); }
        ConfigError error = Assert.Single(Run(host));
        Assert.Equal((true, true, false), (error.IsMendable, error.IsToldLater, error.IsWarning));
    }

    [Fact]
    public void Ports_used_twice_are_named_together()
    {
        using TestHost host = Ready().Sidecar("ENVOY_STATUS_PORT=15090\n").Mesh("defaultConfig: {proxyAdminPort: 15001}\n");
        Assert.Equal(
            ["proxyAdminPort, outbound capture share port 15001", "ENVOY_STATUS_PORT, ENVOY_PROMETHEUS_PORT share port 15090"],
            Run(host).Select(e => $"{e.Key} {e.Problem}"));
    }

    [Fact]
    public void A_socket_path_longer_than_the_kernel_takes_is_a_mistake()
    {
        using TestHost host = Ready().Mesh($"defaultConfig: {{configPath: ./etc/{new string('x', 90)}}}\n");
        Assert.Contains("longer than the 107 bytes", Assert.Single(Run(host)).Problem, StringComparison.Ordinal);
    }

    private static IReadOnlyList<ConfigError> Run(TestHost host, DateTimeOffset? now = null) => new HostChecks(host.Options(), new ManualTimeProvider(now ?? s_now)).Run();

    private static TestHost Ready()
    {
        TestHost host = TestHost.WithFixture("1.31").Write("bin/envoy", "#!/bin/sh\n");
        File.SetUnixFileMode(host.Paths.At("bin/envoy"), UnixFileMode.UserRead | UnixFileMode.UserExecute);
        host.Inherited["PATH"] = host.Paths.At("bin");
        return host;
    }

    private static X509Certificate2 Certificate(DateTimeOffset from, DateTimeOffset to)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        return new CertificateRequest("CN=test", key, HashAlgorithmName.SHA256).CreateSelfSigned(from, to);
    }

    private static string Jwt(string claims) => $"e30.{Convert.ToBase64String(Encoding.UTF8.GetBytes(claims)).TrimEnd('=').Replace('+', '-').Replace('/', '_')}.c2ln";
}
