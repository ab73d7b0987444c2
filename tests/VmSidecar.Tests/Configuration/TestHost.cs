using VmSidecar.Configuration;

using Xunit;

namespace VmSidecar.Tests.Configuration;

/// <summary>A root folder with configuration files in their classic places; deleted with the test.</summary>
internal sealed class TestHost : IDisposable
{
    public TestHost() => Paths = new(Directory.CreateTempSubdirectory("vsc-config-").FullName);

    public HostPaths Paths { get; }
    public Dictionary<string, string> Inherited { get; } = new() { ["HOME"] = "/root" };
    public FakeNetwork Network { get; set; } = new("10.0.0.12") { Routed = "10.0.0.12" };

    /// <summary>The files of istioctl as recorded, <c>1.10</c> or <c>1.31</c>.</summary>
    public static TestHost WithFixture(string version)
    {
        var host = new TestHost();
        string from = Path.Combine(AppContext.BaseDirectory, "Fixtures/onboarding", $"istioctl-{version}");
        host.Write("var/lib/istio/envoy/cluster.env", File.ReadAllText(Path.Combine(from, "cluster.env")));
        host.Write("etc/istio/config/mesh", File.ReadAllText(Path.Combine(from, "mesh.yaml")));
        host.Write("etc/certs/root-cert.pem", File.ReadAllText(Path.Combine(from, "root-cert.pem")));
        host.Write("var/run/secrets/tokens/istio-token", File.ReadAllText(Path.Combine(from, "istio-token")));
        host.Write("etc/hosts", File.ReadAllText(Path.Combine(from, "hosts")));
        return host;
    }

    public TestHost Cluster(string text) => Write("var/lib/istio/envoy/cluster.env", text);

    public TestHost Sidecar(string text) => Write("var/lib/istio/envoy/sidecar.env", text);

    public TestHost Mesh(string text) => Write("etc/istio/config/mesh", text);

    public TestHost Write(string path, string text)
    {
        string full = Paths.At(path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllText(full, text);
        return this;
    }

    public ConfigLoad Load(params string[] arguments)
    {
        var errors = new List<ConfigError>();
        CommandLineFlags flags = CommandLineFlags.Parse(arguments, SettingOrigin.CommandLine, errors);
        Assert.Empty(errors);
        return ConfigLoad.Read(Paths, Inherited, flags, Network);
    }

    /// <summary>Options of a load that must succeed.</summary>
    public SidecarOptions Options(params string[] arguments)
    {
        ConfigLoad load = Load(arguments);
        Assert.Empty(load.Mistakes.Select(m => m.ToString()));
        return load.Options!;
    }

    public void Dispose() => Directory.Delete(Paths.Root, recursive: true);
}
