using VmSidecar.Configuration;
using VmSidecar.Envoy;
using VmSidecar.Tests.Configuration;

using Xunit;

namespace VmSidecar.Tests.Envoy;

/// <summary>Envoy's arguments by version, against those recorded from real pilot-agents.</summary>
public sealed class EnvoyArgumentsTests
{
    [Fact]
    public void Are_pilot_agents_1_31_but_for_quieter_misc_lines()
    {
        // misc:error is 1.10's default, kept for all: current Envoys warn of each deprecated field istiod 1.10 sends.
        List<string> recorded = Recorded("pilot-agent-1.31.args");
        recorded.InsertRange(recorded.IndexOf("warning") + 1, ["--component-log-level", "misc:error"]);
        Assert.Equal(recorded, EnvoyArguments.For(Options(), new(1, 40, 0), "etc/istio/proxy/envoy-rev.json"));
    }

    [Fact]
    public void Are_pilot_agents_1_10_for_an_envoy_of_its_time()
    {
        List<string> recorded = Recorded("pilot-agent-1.10.args");
        recorded.InsertRange(recorded.IndexOf("--disable-hot-restart"), ["--file-flush-interval-msec", "1000"]); // access log lines at once, not after 10 s
        EnvoyOptions options = Options("ISTIO_AGENT_FLAGS='--serviceCluster istio-proxy --concurrency 2'\n");
        options = options with { Node = options.Node with { Cluster = "istio-proxy", Id = "sidecar~10.99.0.2~vm1.vm-ns~vm-ns.svc.cluster.local" } };
        Assert.Equal(recorded, EnvoyArguments.For(options, new(1, 18, 3), "etc/istio/proxy/envoy-rev0.json"));
    }

    [Theory]
    [InlineData("info,misc:warn,upstream:debug", "-l info --component-log-level misc:warn,upstream:debug")]
    [InlineData("debug", "-l debug --component-log-level misc:error")]
    [InlineData("a:b,c:d,trace,error", "-l error --component-log-level a:b,c:d")]
    public void Log_levels_split(string flag, string expected) =>
        Assert.Contains(expected, string.Join(' ', EnvoyArguments.For(Options($"ISTIO_AGENT_FLAGS='--proxyLogLevel={flag}'\n"), new(1, 40, 0), "x")), StringComparison.Ordinal);

    [Theory]
    [InlineData(18, "--bootstrap-version", true)]
    [InlineData(20, "--bootstrap-version", false)]
    [InlineData(20, "--allow-unknown-static-fields", true)]
    [InlineData(27, "--log-format", true)]
    [InlineData(28, "--log-format", false)]
    [InlineData(33, "--skip-deprecated-logs", false)]
    [InlineData(40, "--skip-deprecated-logs", true)]
    public void Each_argument_only_where_the_version_has_it(int minor, string argument, bool present) =>
        Assert.Equal(present, EnvoyArguments.For(Options(), new(1, minor, 0), "x").Contains(argument));

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public void A_hot_restart_names_its_epoch_and_the_same_base_id_each_time(int epoch)
    {
        EnvoyOptions options = Options("ENVOY_HOT_RESTART=true\n");
        string line = string.Join(' ', EnvoyArguments.For(options, new(1, 40, 0), "x", epoch));
        Assert.DoesNotContain("--disable-hot-restart", line, StringComparison.Ordinal);
        Assert.Contains($"--restart-epoch {epoch} ", line, StringComparison.Ordinal);
        Assert.Contains("--drain-time-s 45 ", line, StringComparison.Ordinal);
        Assert.Contains("--parent-shutdown-time-s 60 ", line, StringComparison.Ordinal);
        string id = BaseId(options);
        Assert.Equal(id, BaseId(options));
        Assert.InRange(int.Parse(id, System.Globalization.CultureInfo.InvariantCulture), 1, 99_999);
        Assert.NotEqual(id, BaseId(options with { ConfigDirectory = "/elsewhere" }));

        string BaseId(EnvoyOptions of)
        {
            List<string> arguments = [.. EnvoyArguments.For(of, new(1, 40, 0), "x", epoch)];
            return arguments[arguments.IndexOf("--base-id") + 1];
        }
    }

    [Fact]
    public void Settings_become_arguments()
    {
        using TestHost host = TestHost.WithFixture("1.31")
            .Mesh("defaultConfig: {concurrency: 3, drainDuration: 12.9s, fileFlushInterval: 2s, fileFlushMinSizeKb: 64}\n")
            .Sidecar("ISTIO_BOOTSTRAP_OVERRIDE=/etc/over.yaml\nHOST_IP=fd00::1\nISTIO_ENVOY_ENABLE_CORE_DUMP=true\nENVOY_SKIP_DEPRECATED_LOGS=false\n")
            .Write("etc/over.yaml", "a: $(HOST_IP):1\nb: '[$(HOST_IP)]:2'\n");
        string line = string.Join(' ', EnvoyArguments.For(host.Options().Envoy, new(1, 40, 0), "x"));
        Assert.Contains("--concurrency 3", line, StringComparison.Ordinal);
        Assert.Contains("--drain-time-s 12 ", line, StringComparison.Ordinal);
        Assert.Contains("--file-flush-interval-msec 2000", line, StringComparison.Ordinal);
        Assert.Contains("--file-flush-min-size-kb 64", line, StringComparison.Ordinal);
        Assert.Contains("--enable-core-dump", line, StringComparison.Ordinal);
        Assert.DoesNotContain("--skip-deprecated-logs", line, StringComparison.Ordinal);
        Assert.Contains("--config-yaml a: [fd00::1]:1\nb: '[fd00::1]:2'", line, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("\nenvoy  version: 5fa2dd1d1b4b8ef3e2b1b4a8a9b1a5c7d3e9f001/1.40.0/Clean/RELEASE/BoringSSL\n\n", "1.40.0")]
    [InlineData("/usr/local/bin/envoy  version: 98c1c9e9a40804b93b074badad1cdf284b47d58b/1.18.3-dev/Clean/RELEASE/BoringSSL", "1.18.3")]
    [InlineData("envoy version: 1.22.11", "1.22.11")]
    public void Reads_the_version_line(string output, string version)
    {
        Assert.True(EnvoyVersion.TryParse(output, out EnvoyVersion parsed));
        Assert.Equal(version, parsed.ToString());
    }

    [Theory]
    [InlineData("")]
    [InlineData("no version here")]
    [InlineData("version: abc/99999999999.1.1/x")]
    public void Other_output_is_no_version(string output) => Assert.False(EnvoyVersion.TryParse(output, out _));

    private static List<string> Recorded(string name) => [.. File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "Fixtures/bootstrap", name))];

    private static EnvoyOptions Options(string sidecar = "")
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar(sidecar);
        return host.Options().Envoy;
    }
}
