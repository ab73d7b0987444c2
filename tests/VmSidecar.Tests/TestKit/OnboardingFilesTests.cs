using System.Collections.Immutable;
using System.Text.Json.Nodes;

using VmSidecar.Configuration;
using VmSidecar.TestKit.Onboarding;

using Xunit;

namespace VmSidecar.Tests.TestKit;

/// <summary>The double of istioctl writes what the real one wrote.</summary>
public sealed class OnboardingFilesTests
{
    [Theory]
    [InlineData("1.10")]
    [InlineData("1.31")]
    public void Writes_the_files_of_the_real_istioctl(string version)
    {
        string recorded = Path.Combine(AppContext.BaseDirectory, "Fixtures/onboarding", $"istioctl-{version}");
        DirectoryInfo folder = Directory.CreateTempSubdirectory("vsc-onboarding-");
        try
        {
            Files(version, recorded).WriteTo(folder.FullName);
            foreach (string name in (string[])["cluster.env", "mesh.yaml", "hosts", "root-cert.pem", "istio-token"])
            {
                Assert.Equal(File.ReadAllText(Path.Combine(recorded, name)), File.ReadAllText(Path.Combine(folder.FullName, name)));
                Assert.Equal((UnixFileMode)484, File.GetUnixFileMode(Path.Combine(folder.FullName, name))); // 0744
            }
        }
        finally { folder.Delete(recursive: true); }
    }

    [Theory]
    [InlineData("", "''")]
    [InlineData("foo", "'foo'")]
    [InlineData("true", "'true'")]
    [InlineData("*", "'*'")]
    [InlineData("15090,15021", "'15090,15021'")]
    [InlineData("www", "www")]
    [InlineData("/", "/")]
    [InlineData("a'b", "'a'\"'\"'b'")]
    [InlineData("\\", "\\")]
    public void Quotes_as_istioctl_does(string value, string quoted) => Assert.Equal(quoted, OnboardingFiles.Quote(value));

    [Fact]
    public void Installs_them_where_the_agent_reads_them()
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("vsc-onboarding-");
        try
        {
            var paths = new HostPaths(folder.FullName);
            Files("1.31", Path.Combine(AppContext.BaseDirectory, "Fixtures/onboarding/istioctl-1.31")).Install(paths);
            ConfigLoad load = ConfigLoad.Read(paths, ImmutableDictionary<string, string>.Empty, CommandLineFlags.None, new Configuration.FakeNetwork("10.0.0.12"));
            Assert.Empty(load.Errors);
            Assert.Equal("vm-app.vm-ns", load.Options!.Node.Cluster);
            Assert.Equal("203.0.113.7 istiod.istio-system.svc\n", File.ReadAllText(paths.Hosts));
        }
        finally { folder.Delete(recursive: true); }
    }

    private static OnboardingFiles Files(string version, string recorded) => new()
    {
        Group = "vm-app",
        Namespace = "vm-ns",
        ServiceAccount = "vm-sa",
        Labels = ImmutableSortedDictionary.CreateRange(StringComparer.Ordinal, [KeyValuePair.Create("app", "vm-app"), KeyValuePair.Create("version", "vm")]),
        Ports = [new("http", 8080)],
        Istio110 = version == "1.10",
        AutoRegister = true,
        MeshId = "mesh1",
        MeshMetadata = ImmutableDictionary.CreateRange([KeyValuePair.Create("ISTIO_META_DNS_AUTO_ALLOCATE", "true")]),
        Probe = new JsonObject { ["periodSeconds"] = 2, ["initialDelaySeconds"] = 1, ["httpGet"] = new JsonObject { ["path"] = "/ready", ["port"] = 8080 } },
        Token = File.ReadAllText(Path.Combine(recorded, "istio-token")),
        RootPem = File.ReadAllText(Path.Combine(recorded, "root-cert.pem")),
        IngressIp = "203.0.113.7",
    };
}
