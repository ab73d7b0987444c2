using VmSidecar.Configuration;

using Xunit;

namespace VmSidecar.Tests.Configuration;

/// <summary>Where the identity comes from, by settings and by what lies on the disk.</summary>
public sealed class IdentitySettingsTests
{
    private const string Spiffe = "var/run/secrets/workload-spiffe-credentials/";

    [Fact]
    public void Certificates_of_a_platform_are_used_where_they_lie()
    {
        using TestHost host = TestHost.WithFixture("1.31");
        foreach (string name in new[] { "cert-chain.pem", "key.pem", "root-cert.pem" }) { host.Write(Spiffe + name, ""); }
        Assert.Equal(MountedFiles.In(host.Paths.At(Spiffe)), host.Options().Identity.Mounted);
    }

    [Fact]
    public void Certificates_of_gke_have_names_of_their_own_and_must_be_there()
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar("CA_PROVIDER=GkeWorkloadCertificate\n");
        host.Write(Spiffe + "certificates.pem", "").Write(Spiffe + "private_key.pem", "");
        ConfigError missing = Assert.Single(host.Load().Mistakes);
        Assert.Contains("ca_certificates.pem", missing.Problem, StringComparison.Ordinal);
        Assert.DoesNotContain("private_key.pem", missing.Problem, StringComparison.Ordinal);
        host.Write(Spiffe + "ca_certificates.pem", "");
        Assert.Equal(MountedFiles.OfGke(host.Paths.At(Spiffe)), host.Options().Identity.Mounted);
    }

    [Fact]
    public void Mounted_files_are_shown_to_istiod_under_the_names_proxyMetadata_gives()
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar("FILE_MOUNTED_CERTS=true\n").Mesh(
            """
            defaultConfig:
              discoveryAddress: istiod.istio-system.svc:15012
              proxyMetadata:
                ISTIO_META_TLS_CLIENT_CERT_CHAIN: /m/c.pem
                ISTIO_META_TLS_CLIENT_KEY: /m/k.pem
                ISTIO_META_TLS_CLIENT_ROOT_CERT: /m/r.pem
            """);
        File.Delete(host.Paths.At("etc/certs/root-cert.pem"));
        var files = new MountedFiles(host.Paths.At("m/c.pem"), host.Paths.At("m/k.pem"), host.Paths.At("m/r.pem"));
        IdentityOptions options = host.Options().Identity;
        Assert.Equal((files, files, files.Roots), (options.ClientFiles, options.Mounted, options.XdsRootFile));
        foreach (string name in new[] { "cert-chain.pem", "key.pem", "root-cert.pem" }) { host.Write("etc/certs/" + name, ""); }
        options = host.Options().Identity;
        Assert.Equal((files, MountedFiles.In(host.Paths.Certificates)), (options.ClientFiles, options.Mounted)); // the workload's own lie at the well-known place
    }

    [Theory]
    [InlineData("", TokenSourceKind.File, TlsCompliance.None)]
    [InlineData("CREDENTIAL_FETCHER_TYPE=\n", TokenSourceKind.File, TlsCompliance.None)]
    [InlineData("CREDENTIAL_FETCHER_TYPE=JWT\nCOMPLIANCE_POLICY=fips-140-2\n", TokenSourceKind.File, TlsCompliance.Fips)]
    [InlineData("CREDENTIAL_FETCHER_TYPE=Mock\nCOMPLIANCE_POLICY=fips-140-3\n", TokenSourceKind.Mock, TlsCompliance.Fips)]
    [InlineData("CREDENTIAL_FETCHER_TYPE=exec\nCREDENTIAL_FETCHER_COMMAND='vault read x'\nCOMPLIANCE_POLICY=pqc\n", TokenSourceKind.Exec, TlsCompliance.PostQuantum)]
    [InlineData("CREDENTIAL_FETCHER_TYPE=GoogleComputeEngine\nGCE_METADATA_HOST=10.0.0.1:8080\n", TokenSourceKind.GoogleComputeEngine, TlsCompliance.None)]
    internal void Token_source_and_compliance_policy_are_read(string sidecar, TokenSourceKind source, TlsCompliance policy)
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar(sidecar);
        IdentityOptions options = host.Options().Identity;
        Assert.Equal((source, policy), (options.TokenSource, options.Compliance));
        Assert.Equal(source == TokenSourceKind.GoogleComputeEngine ? "10.0.0.1:8080" : "169.254.169.254", options.MetadataHost);
        Assert.Equal(source == TokenSourceKind.Exec ? ["vault", "read", "x"] : [], options.TokenCommand.AsEnumerable());
    }

    [Fact]
    public void The_clock_tolerance_is_a_setting()
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar("VMSIDECAR_CLOCK_TOLERANCE=90s\n");
        Assert.Equal(TimeSpan.FromSeconds(90), host.Options().Identity.ClockTolerance);
    }
}
