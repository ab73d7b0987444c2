using VmSidecar.Configuration;
using VmSidecar.TestKit;

using Xunit;

namespace VmSidecar.Tests.Configuration;

/// <summary>What the classic start script's sourcing comes to: precedence, defaults, empty against unset, mistakes in files.</summary>
public sealed class EnvironmentTests
{
    [Fact]
    public void Cluster_env_beats_sidecar_env_beats_the_environment_beats_the_mesh_file()
    {
        using TestHost host = new TestHost().Cluster("ISTIO_NAMESPACE=n\nSECRET_TTL=1h\n").Sidecar("SECRET_TTL=2h\nPKCS8_KEY=true\n")
            .Mesh("defaultConfig: {proxyMetadata: {SECRET_TTL: 4h, PKCS8_KEY: 'false', TRUST_DOMAIN: mesh.local, WORKLOAD_RSA_KEY_SIZE: '4096'}}\n");
        (host.Inherited["SECRET_TTL"], host.Inherited["TRUST_DOMAIN"]) = ("3h", "env.local");
        IdentityOptions identity = host.Options().Identity;
        Assert.Equal((TimeSpan.FromHours(1), true, "env.local", 4096), (identity.Ttl, identity.Pkcs8, identity.TrustDomain, identity.RsaBits));
    }

    [Fact]
    public void A_later_line_may_use_an_earlier_file_and_the_environment()
    {
        using TestHost host = new TestHost().Sidecar("REV=canary\n").Cluster("ISTIO_NAMESPACE=n\nCA_ADDR=istiod-$REV.$SYSTEM.svc:15012\n");
        host.Inherited["SYSTEM"] = "mesh";
        Assert.Equal("istiod-canary.mesh.svc:15012", host.Options().Identity.CaAddress);
    }

    [Theory]
    [InlineData("", "etc/certs", "etc/certs")]
    [InlineData("PROV_CERT=''\nOUTPUT_CERTS=", null, null)]
    [InlineData("PROV_CERT=./a\nOUTPUT_CERTS=/b/c", "a", "b/c")]
    [InlineData("FILE_MOUNTED_CERTS=true", null, null)]
    public void Empty_certificate_folders_switch_off_and_unset_ones_have_defaults(string sidecar, string? provisioned, string? output)
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar(sidecar + "\n");
        IdentityOptions identity = host.Options().Identity;
        Assert.Equal((provisioned is null ? null : host.Paths.At(provisioned), output is null ? null : host.Paths.At(output)), (identity.ProvisionedDirectory, identity.OutputDirectory));
    }

    [Fact]
    public void An_empty_trust_domain_is_kept_with_a_warning_and_an_empty_namespace_is_none()
    {
        using TestHost host = new TestHost().Cluster("TRUST_DOMAIN=''\nISTIO_NAMESPACE=''\nPOD_NAME=''\nSERVICE_ACCOUNT=s\n");
        ConfigLoad load = host.Load();
        Assert.Equal("", load.Options!.Identity.TrustDomain);
        Assert.Equal("default", load.Options.Identity.Namespace);
        Assert.Contains("~vm1.default~", load.Options.Node.Id, StringComparison.Ordinal);
        Assert.Equal(["ISTIO_NAMESPACE", "TRUST_DOMAIN"], load.Errors.Where(e => e.IsWarning && e.Key != "file").Select(e => e.Key).Order());
    }

    [Theory]
    [InlineData("SECRET_TTL=soon", "'soon' is not a duration")]
    [InlineData("SECRET_GRACE_PERIOD_RATIO=2", "'2' is not a share between 0 and 1")]
    [InlineData("WORKLOAD_RSA_KEY_SIZE=1024", "'1024' is not a whole number of at least 2048")]
    [InlineData("ENVOY_STATUS_PORT=0", "'0' is not a port")]
    [InlineData("ENVOY_PROMETHEUS_PORT=15O90", "'15O90' is not a port")]
    [InlineData("PKCS8_KEY=maybe", "'maybe' is not a boolean")]
    [InlineData("CA_ADDR=istiod", "'istiod' is not host:port")]
    [InlineData("CA_PROVIDER=GoogleCA", "'GoogleCA' is not supported")]
    [InlineData("CREDENTIAL_FETCHER_TYPE=Google", "'Google' is an invalid credential fetcher type")]
    [InlineData("CREDENTIAL_FETCHER_TYPE=exec", "'exec' needs a command")]
    [InlineData("COMPLIANCE_POLICY=fips", "'fips' is not a known policy")]
    [InlineData("ECC_SIGNATURE_ALGORITHM=ED25519", "'ED25519' is not a known algorithm")]
    [InlineData("VMSIDECAR_VIRTUAL_IPS=sometimes", "'sometimes' is not a mode of virtual IPs")]
    [InlineData("VMSIDECAR_DNS_TTL=2h", "'2h' is not a time to keep an answer")]
    [InlineData("VMSIDECAR_DNS_TTL=1500ms", "'1500ms' is not a time to keep an answer")]
    [InlineData("VMSIDECAR_DNS_HEADLESS_TTL=soon", "'soon' is not a duration")]
    [InlineData("DNS_PROXY_ADDR=host.example:15053", "'host.example:15053' does not name localhost or an IP address")]
    [InlineData("WORKLOAD_IDENTITY_SOCKET_FILE=a/b", "'a/b' is a path")]
    [InlineData("ISTIO_CPU_LIMIT=two", "'two' is not a whole number of at least 0")]
    [InlineData("PROV_CERT=/c\nFILE_MOUNTED_CERTS=true", "'/c' and FILE_MOUNTED_CERTS exclude each other")]
    [InlineData("ISTIO_META_ENABLE_HBONE=perhaps", "'perhaps' is not a boolean")]
    [InlineData("POD_NAME='a~b'", "'a~b' contains a character that istiod cannot take")]
    [InlineData("ISTIO_AGENT_FLAGS='--log_output_level x:y'", "'x:y' is not scope:level")]
    [InlineData("ISTIO_AGENT_FLAGS=--domain", "has no value")]
    public void A_wrong_value_is_a_mistake_with_its_line(string line, string problem)
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar("# first\n" + line + "\n");
        ConfigError error = Assert.Single(host.Load().Mistakes);
        Assert.Equal((host.Paths.SidecarEnv, 2, problem), (error.File, error.Line, error.Problem));
    }

    /// <summary>pilot-agent reads none of these, so what it understands is no matter.</summary>
    [Theory, InlineData("on", true), InlineData("off", false), InlineData("yes", true), InlineData("false", false)]
    public void A_boolean_of_the_agents_own_may_be_written_as_people_write_it(string value, bool aliases)
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar($"VMSIDECAR_DNS_CNAME={value}\n");
        ConfigLoad load = host.Load();
        Assert.Empty(load.Errors);
        Assert.Equal(aliases, load.Options!.Dns.Aliases);
    }

    [Theory]
    [InlineData("PKCS8_KEY=yes", "PKCS8_KEY", "'yes' is taken as true; pilot-agent does not understand it")]
    [InlineData("PKCS8_KEY=", "PKCS8_KEY", "is empty; the default applies")]
    [InlineData("SECRET_TTL=", "SECRET_TTL", "is empty; the default applies")]
    [InlineData("ISTIO_INBOUND_EXCLUDE_PORTS=22", "ISTIO_INBOUND_EXCLUDE_PORTS", "is read by nothing")]
    [InlineData("ISTIO_INBOND_PORTS=80", "ISTIO_INBOND_PORTS", "is not a setting of the agent")]
    [InlineData("JWT_POLICY=first-party-jwt", "JWT_POLICY", null)]
    [InlineData("DNS_PROXY_ADDR=localhost:5353", "DNS_PROXY_ADDR", null)]
    [InlineData("PROXY_XDS_VIA_AGENT=false", "PROXY_XDS_VIA_AGENT", null)]
    [InlineData("INSTANCE_IP=nonsense", "INSTANCE_IP", "'nonsense' is not an IP address; it is ignored")]
    [InlineData("ISTIO_BOOTSTRAP_OVERRIDE=/none", "ISTIO_BOOTSTRAP_OVERRIDE", "the file '/none' does not exist; it is ignored")]
    [InlineData("ISTIO_AGENT_FLAGS='--proxyLoglevel debug'", "--proxyLoglevel", "is not a flag of the agent; it is ignored")]
    public void A_doubtful_value_is_a_warning_with_its_line(string line, string key, string? problem)
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar(line + "\n");
        ConfigLoad load = host.Load();
        Assert.NotNull(load.Options);
        ConfigError warning = Assert.Single(load.Errors);
        Assert.Equal((host.Paths.SidecarEnv, 1, key, true), (warning.File, warning.Line, warning.Key, warning.IsWarning));
        if (problem is not null) { Assert.Equal(problem, warning.Problem); }
    }

    [Theory]
    [InlineData("ISTIO_BOOTSTRAP=/t.json", "ISTIO_BOOTSTRAP")]
    [InlineData("CLOUD_PLATFORM=aws", "CLOUD_PLATFORM")]
    [InlineData("CLOUD_PLATFORM=none", null)]
    [InlineData("ENVOY_SECURE_METRICS_PORT=0", null)]
    [InlineData("ISTIO_AGENT_FLAGS='--templateFile /t --stsPort=0'", "--templateFile")]
    [InlineData("PROXY_CONFIG='proxyBootstrapTemplatePath: /t'", "proxyBootstrapTemplatePath")]
    public void What_has_no_effect_here_is_said(string line, string? key)
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar(line + "\n");
        ConfigLoad load = host.Load();
        Assert.NotNull(load.Options);
        Assert.Equal(key is null ? [] : [(host.Paths.SidecarEnv, 1, key)], load.Errors.Select(e => (e.File, e.Line, e.Key)));
    }

    [Fact]
    public void Other_variables_are_the_operators_own_business()
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar("DD_AGENT_HOST=10.0.0.9\nISTIO_META_ANYTHING=1\nHTTP_PROXY=http://p:3128\n");
        ConfigLoad load = host.Load();
        Assert.Empty(load.Errors);
        Assert.Contains(KeyValuePair.Create("DD_AGENT_HOST", "10.0.0.9"), load.Options!.Envoy.ExtraEnvironment);
        Assert.Equal("10.0.0.9", load.Environment.ToDictionary()["DD_AGENT_HOST"]);
    }

    [Fact]
    public void Files_that_are_folders_or_too_large_are_named()
    {
        using TestHost host = new TestHost().Write("var/lib/istio/envoy/cluster.env/x", "").Mesh(new string('#', (1 << 20) + 1)).Sidecar("ISTIO_NAMESPACE=n\n");
        Assert.Equal([(host.Paths.Mesh, "is larger than 1 MiB"), (host.Paths.ClusterEnv, "is a folder")], host.Load().Mistakes.Select(m => (m.File, m.Problem)));
    }

    [Fact]
    public void Missing_files_are_warnings()
    {
        using var host = new TestHost();
        Assert.Equal([host.Paths.Mesh, host.Paths.ClusterEnv], host.Load().Errors.Where(e => e.Key == "file").Select(e => e.File));
    }

    [Fact]
    public void Carriage_returns_are_one_mistake_and_not_one_per_setting()
    {
        using TestHost host = TestHost.WithFixture("1.31");
        File.WriteAllText(host.Paths.ClusterEnv, File.ReadAllText(host.Paths.ClusterEnv).ReplaceLineEndings("\r\n"));
        ConfigError error = Assert.Single(host.Load().Mistakes);
        Assert.StartsWith("Run: sed -i", error.Fix, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", 30, 30, true)]
    [InlineData("VMSIDECAR_DNS_TTL=10s\n", 10, 10, true)]
    [InlineData("VMSIDECAR_DNS_HEADLESS_TTL=0s\nVMSIDECAR_DNS_CNAME=false\n", 30, 0, false)]
    public void The_lifetime_of_dns_answers_is_set_for_all_and_for_pods(string lines, int ttl, int headless, bool aliases)
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar(lines);
        DnsOptions dns = host.Options().Dns;
        Assert.Equal((TimeSpan.FromSeconds(ttl), TimeSpan.FromSeconds(headless), aliases), (dns.Ttl, dns.HeadlessTtl, dns.Aliases));
    }

    [Theory]
    [InlineData("", 4500)]
    [InlineData("DNS_FORWARD_TIMEOUT=7s\n", 7000)]
    [InlineData("DNS_FORWARD_TIMEOUT=0\n", 2000)] // the classic agent's library reads it so
    [InlineData("DNS_FORWARD_TIMEOUT=0s\n", 2000)]
    public void A_forward_timeout_of_zero_is_two_seconds(string lines, int milliseconds)
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar(lines);
        Assert.Equal(TimeSpan.FromMilliseconds(milliseconds), host.Options().Dns.ForwardTimeout);
    }

    [Fact]
    public void Flags_beat_agent_flags()
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar("ISTIO_AGENT_FLAGS='--proxyLogLevel debug --domain a.example --concurrency=3 --vip-tcp --dns-compat 1.10'\nVMSIDECAR_VIRTUAL_IPS=all\n");
        SidecarOptions options = host.Options("--domain", "b.example", "--log_as_json", "--log_output_level=dns:debug,all:warn,xds:none");
        Assert.Equal(("debug", "b.example", 3, true), (options.Envoy.LogLevel, options.Dns.Domain, options.Envoy.Concurrency, options.Envoy.JsonLogs));
        Assert.Equal((true, VirtualIpMode.All, true), (options.Dns.Compat110, options.Dns.VirtualIps, options.Dns.VipTcp));
        Assert.Equal(Microsoft.Extensions.Logging.LogLevel.Warning, options.Log.DefaultLevel);
        Assert.Equal([KeyValuePair.Create("xds", Microsoft.Extensions.Logging.LogLevel.None)], options.Log.Scopes.AsEnumerable());
    }

    [Theory]
    [InlineData("TPROXY", "", true)]
    [InlineData("TPROXY", "ISTIO_INBOUND_INTERCEPTION_MODE=TPROXY\nISTIO_META_INTERCEPTION_MODE=TPROXY\n", false)]
    [InlineData("REDIRECT", "", false)]
    public void Tproxy_in_the_mesh_file_alone_does_nothing_and_is_said_so(string mode, string sidecar, bool warned)
    {
        using TestHost host = TestHost.WithFixture("1.31").Mesh($"defaultConfig: {{interceptionMode: {mode}}}\n").Sidecar(sidecar);
        Assert.Equal(warned, host.Load().Errors.Any(e => e.Key == "interceptionMode"));
    }

    [Theory]
    [InlineData("NONE", true)]
    [InlineData("REDIRECT", false)]
    public void Listeners_that_istiod_will_not_send_are_warned_of(string mode, bool warned)
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar($"ISTIO_META_INTERCEPTION_MODE={mode}\n");
        Assert.Equal(warned, host.Load().Errors.Any(e => e.IsWarning && e.Key == "ISTIO_META_INTERCEPTION_MODE" && e.Line == 1));
    }

    /// <summary>What no probe could be made of is the operator's mistake at the start, not a workload that is never healthy.</summary>
    [Theory]
    [InlineData("{httpGet: {port: 1, host: 'my host'}}", "readinessProbe.httpGet.host: 'my host' is neither a host name nor an address")]
    [InlineData("{tcpSocket: {port: 1, host: '[::1'}}", "readinessProbe.tcpSocket.host: '[::1' is neither")]
    [InlineData("{httpGet: {port: 1, httpHeaders: [{name: Host, value: 'a b'}]}}", "readinessProbe.httpGet.httpHeaders: 'Host' cannot be sent")]
    [InlineData("{httpGet: {port: 1, host: 'a?b'}}", "readinessProbe.httpGet.host: 'a?b' is neither")]
    [InlineData("{httpGet: {port: 1, host: 'a#b'}}", "readinessProbe.httpGet.host: 'a#b' is neither")]
    [InlineData("{httpGet: {port: 1, host: 'me@a'}}", "readinessProbe.httpGet.host: 'me@a' is neither")]
    [InlineData("{httpGet: {port: 1, httpHeaders: [{name: X-A, value: \"a\\nX: 1\"}]}}", "readinessProbe.httpGet.httpHeaders: 'X-A' cannot be sent")]
    [InlineData("{httpGet: {port: 1, httpHeaders: [{name: 'X A', value: '1'}]}}", "readinessProbe.httpGet.httpHeaders: 'X A' cannot be sent")]
    [InlineData("{periodSeconds: 2147483647, tcpSocket: {port: 1}}", "readinessProbe.periodSeconds: '2147483647' seconds are more than 30 days")]
    [InlineData("{timeoutSeconds: 86400, httpGet: {port: 1, host: app.example, httpHeaders: [{name: Host, value: 'app.example:8080'}, {name: X-A, value: 'a b;c'}]}}", null)]
    [InlineData("{httpGet: {port: 1, host: '::1'}}", null)]
    [InlineData("{httpGet: {port: 1, host: '[::1]'}}", null)]
    [InlineData("{tcpSocket: {port: 1, host: my_host}}", null)]
    public void A_probe_that_cannot_be_made_is_a_mistake(string probe, string? said)
    {
        using TestHost host = TestHost.WithFixture("1.31").Mesh($"defaultConfig: {{discoveryAddress: 'istiod.istio-system.svc:15012', readinessProbe: {probe}}}\n");
        Assert.Equal(said is not null, host.Load().Mistakes.Any());
        Assert.All(host.Load().Mistakes, m => Assert.Contains(said!, m.ToString(), StringComparison.Ordinal));
    }

    /// <summary>Istio's documentation says that three failures are the default; the agent has always used one, and configuration written for it counts on that.</summary>
    [Theory, InlineData("", 1, 1), InlineData(", failureThreshold: 0, successThreshold: 0", 1, 1), InlineData(", failureThreshold: 3, successThreshold: 2", 3, 2)]
    public void One_failure_is_the_default(string more, int failures, int successes)
    {
        using TestHost host = TestHost.WithFixture("1.31").Mesh($"defaultConfig: {{discoveryAddress: 'istiod.istio-system.svc:15012', readinessProbe: {{tcpSocket: {{port: 1}}{more}}}}}\n");
        ProbeOptions probe = host.Options().Probe!;
        Assert.Equal((failures, successes, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(10), TimeSpan.Zero), (probe.FailureThreshold, probe.SuccessThreshold, probe.Timeout, probe.Period, probe.InitialDelay));
    }

    /// <summary>The classic agent ignores them.</summary>
    [Fact]
    public void Trust_anchors_of_the_mesh_file_count()
    {
        using TestHost host = TestHost.WithFixture("1.31").Mesh("defaultConfig:\n  discoveryAddress: istiod.istio-system.svc:15012\n  caCertificatesPem: ['one', 'two']\n");
        Assert.Equal(["one", "two"], host.Options().Identity.ExtraRoots);
    }

    [Fact]
    public void Host_ip_stands_in_for_its_name_in_telemetry_addresses()
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar("HOST_IP=fd00::1\n")
            .Mesh("defaultConfig:\n  statsdUdpAddress: $(HOST_IP):8125\n  tracing: {zipkin: {address: '$(HOST_IP):9411'}}\n");
        Assert.Equal("[fd00::1]:8125", host.Options().Envoy.ProxyConfig["statsdUdpAddress"]!.ToString());
        Assert.Equal("[fd00::1]:9411", host.Options().Envoy.ProxyConfig["tracing"]!["zipkin"]!["address"]!.ToString());
    }

    [Fact]
    public async Task An_address_is_waited_for_at_boot_but_not_for_ever()
    {
        var time = new ManualTimeProvider();
        var network = new LateNetwork();
        Task<bool> waiting = NodeAddresses.WaitAsync(network, TimeSpan.FromSeconds(30), time, CancellationToken.None);
        await time.NextTimerAsync(Test.Deadline);
        Assert.False(waiting.IsCompleted);
        network.IsUp = true;
        time.Advance(TimeSpan.FromSeconds(1));
        Assert.True(await waiting.WaitAsync(Test.Deadline));

        network.IsUp = false;
        waiting = NodeAddresses.WaitAsync(network, TimeSpan.FromSeconds(30), time, CancellationToken.None);
        await time.NextTimerAsync(Test.Deadline);
        time.Advance(TimeSpan.FromSeconds(31));
        Assert.False(await waiting.WaitAsync(Test.Deadline));
    }

    private sealed class LateNetwork : INetworkFacts
    {
        public bool IsUp { get; set; }
        public string? HostName => "vm1";

        public System.Collections.Immutable.ImmutableArray<System.Net.IPAddress> InterfaceAddresses() =>
            IsUp ? [System.Net.IPAddress.Parse("10.0.0.12")] : [System.Net.IPAddress.Parse("fe80::1")];

        public System.Net.IPAddress? SourceFor(System.Net.IPAddress peer) => null;
    }
}
