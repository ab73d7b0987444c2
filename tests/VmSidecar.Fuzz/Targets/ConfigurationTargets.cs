using System.Collections.Immutable;
using System.Net;
using VmSidecar.Configuration;
using VmSidecar.Fuzz.Engine;
using VmSidecar.Status;

namespace VmSidecar.Fuzz.Targets;

/// <summary>The operator's files and command lines: whatever is in them, every mistake is told and nothing throws.</summary>
internal static class ConfigurationTargets
{
    private const string ClusterEnv = "ISTIO_META_CLUSTER_ID='Kubernetes'\nISTIO_META_DNS_CAPTURE='true'\nISTIO_NAMESPACE=vm-ns\nISTIO_SERVICE='vm.vm-ns'\nISTIO_INBOUND_PORTS='*'\nSERVICE_ACCOUNT=sa\n";
    private const string Mesh = "defaultConfig:\n  discoveryAddress: istiod.istio-system.svc:15012\n  proxyMetadata:\n    ISTIO_META_CLUSTER_ID: Kubernetes\n  readinessProbe:\n    httpGet:\n      port: 8080\n  terminationDrainDuration: 5s\n";

    public static IEnumerable<FuzzTarget> All { get; } =
    [
        new("env-file", EnvFile, FuzzTargets.Seeds(ClusterEnv, "export A=\"b $C ${D:-e}\"\nB=$'\\x41\\u20ac' # c\nC+=d\nD=~/x"), FuzzTargets.Words("export ", "${", ":-", ":=", "$'", "\\x", "\"", "'", "$(", "`", "#", "+=", "declare -x ", "\\\n", ";", "&&")),
        new("mesh-file", MeshFile, FuzzTargets.Seeds(Mesh, "discoveryAddress: a:1\nconcurrency: 2\n", "{defaultConfig: {tracing: {zipkin: {address: x}}}}"), FuzzTargets.Words("defaultConfig:", "proxyMetadata:", ": ", "- ", "&a ", "*a", "<<: ", "!!str ", "|\n", ">\n", "{", "}", "[", "]", "\"", "---\n", "readinessProbe:", "tracing:", "extraStatTags:")),
        new("settings", Settings, FuzzTargets.Seeds(ClusterEnv, "ISTIO_AGENT_FLAGS='--proxyLogLevel=debug --log_target=stdout'\nDNS_FORWARD_TIMEOUT=5s\nDNS_PROXY_ADDR=localhost:15053\nSECRET_TTL=24h\nPROXY_CONFIG='concurrency: 2'\n"),
            FuzzTargets.Words("DNS_PROXY_ADDR=", "SECRET_TTL=", "SECRET_GRACE_PERIOD_RATIO=", "ISTIO_PROMETHEUS_ANNOTATIONS=", "CA_ADDR=", "ISTIO_SVC_IP=", "ISTIO_META_", "ISTIO_METAJSON_X=", "PROXY_CONFIG=", "ISTIO_AGENT_FLAGS=", "TRUST_DOMAIN=", "ISTIO_CP_AUTH=", "ISTIO_META_APP_PROBE=", "1h", "0.5", "true", "[::1]:1")),
        new("flags", Flags, FuzzTargets.Seeds("proxy\nsidecar\n--domain\nx\n--concurrency=2", "-p\n15001\n-i\n*\n--redirect-dns"), FuzzTargets.Words("--", "-p", "=", "\n", "--serviceCluster", "--log_output_level", "-m", "TPROXY")),
        new("host-port", Addresses, FuzzTargets.Seeds("[::1]:15012", "istiod.istio-system.svc:15012", "1.2.3.4:5"), FuzzTargets.Words("[", "]", ":", "%eth0")),
        new("scrape", Scrape, FuzzTargets.Seeds("{\"scrape\":\"true\",\"path\":\"/metrics\",\"port\":\"9100\"}", "{\"targets\":[{\"port\":\"1\",\"path\":\"x\"}]}"), FuzzTargets.Words("\"scrape\"", "\"targets\"", "\"port\"", "{", "}", "[", "]", ":", ",", "null", "1e9", "\\u0000")),
    ];

    private static void EnvFile(byte[] input)
    {
        var errors = new List<ConfigError>();
        string text = FuzzTargets.Text(input);
        ImmutableArray<EnvAssignment> assigned = BashEnvFile.Parse("cluster.env", text, new Dictionary<string, string> { ["HOME"] = "/root" }, errors);
        Named(errors, text);
        FuzzTarget.Require(assigned.All(a => a.Key.Length > 0), "an assignment has a name");
    }

    private static void MeshFile(byte[] input)
    {
        string text = FuzzTargets.Text(input);
        var errors = new List<ConfigError>();
        ProxyConfigLayer? layer = ProxyConfigDocument.ReadMesh("mesh", text, errors);
        Named(errors, text);
        layer?.Fields.ToJsonString();
        errors.Clear();
        ProxyConfigDocument.ReadBare("PROXY_CONFIG", 3, text, errors)?.Fields.ToJsonString();
    }

    private static void Settings(byte[] input)
    {
        string folder = FuzzTargets.Folder();
        try
        {
            var paths = new HostPaths(folder);
            string file = paths.At("var/lib/istio/envoy/cluster.env");
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            File.WriteAllBytes(file, input);
            ConfigLoad load = ConfigLoad.Read(paths, ImmutableDictionary<string, string>.Empty, CommandLineFlags.None, new Network());
            FuzzTarget.Require(load.Errors.All(e => e.Problem.Length > 0 && e.Fix.Length > 0), "every mistake has a problem and a fix");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void Flags(byte[] input)
    {
        string[] words = FuzzTargets.Text(input).Split('\n');
        var errors = new List<ConfigError>();
        CommandLineFlags.Parse(words, SettingOrigin.CommandLine, errors);
        if (!CaptureFlagParser.TryParse(words, out _, out string problem)) { FuzzTarget.Require(problem.Length > 0, "a refused command line has a reason"); }
    }

    private static void Addresses(byte[] input)
    {
        string text = FuzzTargets.Text(input);
        HostPort.HostOf(text);
        if (HostPort.TryParse(text, out HostPort parsed)) { FuzzTarget.Require(parsed.Host.Length > 0 && parsed.Port is >= 0 and <= 65535, "an address has a host and a port"); }
    }

    private static void Scrape(byte[] input)
    {
        bool good = ScrapeTargets.TryParse(FuzzTargets.Text(input), 15020, out IReadOnlyList<ScrapeTarget> targets, out string problem);
        FuzzTarget.Require(good == (problem.Length == 0), "a refused value has a reason");
        FuzzTarget.Require(targets.All(t => t.Port is > 0 and <= 65535 && t.Path.StartsWith('/')), "a target has a port and a path");
    }

    private static void Named(List<ConfigError> errors, string text)
    {
        int lines = text.Count(c => c is '\n' or '\r' or '\u0085' or '\u2028' or '\u2029') + 1; // YAML breaks lines at all of these
        FuzzTarget.Require(errors.All(e => e.Problem.Length > 0 && e.Fix.Length > 0 && e.Line >= 0 && e.Line <= lines), "every mistake has a line, a problem and a fix");
    }

    private sealed class Network : INetworkFacts
    {
        public string? HostName => "vm1";

        public ImmutableArray<IPAddress> InterfaceAddresses() => [IPAddress.Parse("10.0.0.12")];

        public IPAddress? SourceFor(IPAddress peer) => null;
    }
}
