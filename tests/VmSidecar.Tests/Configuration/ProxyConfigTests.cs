using VmSidecar.Configuration;

using Xunit;

namespace VmSidecar.Tests.Configuration;

/// <summary>Mesh file, PROXY_CONFIG, annotations and flags: precedence, forms, coercions.</summary>
public sealed class ProxyConfigTests
{
    [Fact]
    public void Layers_override_as_in_the_worked_example()
    {
        using TestHost host = new TestHost().Cluster("ISTIO_NAMESPACE=n\nSERVICE_ACCOUNT=s\nPROXY_CONFIG='discoveryAddress: env:123'\n")
            .Mesh("defaultConfig:\n  discoveryAddress: file:123\n  proxyMetadata: {SOME: setting}\n  extraStatTags: [a]\n")
            .Write("etc/istio/pod/annotations", "proxy.istio.io/config=\"discoveryAddress: ann:123\\nproxyMetadata: {ANN: x}\\ndrainDuration: 5s\\nextraStatTags: [b]\"\n");
        SidecarOptions options = host.Options();
        Assert.Equal("ann:123", options.Xds.DiscoveryAddress);
        Assert.Equal(TimeSpan.FromSeconds(5), options.Envoy.DrainDuration);
        Assert.Equal("[\"b\"]", options.Envoy.ProxyConfig["extraStatTags"]!.ToJsonString());
        Assert.Equal("""{"SOME":"setting","ANN":"x"}""", options.Envoy.ProxyConfig["proxyMetadata"]!.ToJsonString());
    }

    [Theory]
    [InlineData("", "file:15012")]
    [InlineData("PROXY_CONFIG='discoveryAddress: env:15012'", "env:15012")]
    [InlineData("PILOT_ADDRESS=pilot:15012\nPROXY_CONFIG='discoveryAddress: env:15012'", "pilot:15012")]
    [InlineData("ISTIO_PILOT_PORT=15013", "istiod.istio-system.svc:15013")]
    [InlineData("ISTIO_PILOT_PORT=15013\nISTIO_SYSTEM_NAMESPACE=mesh", "istiod.mesh.svc:15013")]
    [InlineData("ISTIO_SYSTEM_NAMESPACE=mesh", "file:15012")]
    public void The_mesh_files_address_takes_effect_unless_one_is_given_on_purpose(string sidecar, string address)
    {
        using TestHost host = TestHost.WithFixture("1.10").Mesh("defaultConfig: {discoveryAddress: 'file:15012'}\n").Sidecar(sidecar + "\n");
        SidecarOptions options = host.Options();
        Assert.Equal((address, address), (options.Xds.DiscoveryAddress, options.Identity.CaAddress));
    }

    [Fact]
    public void A_system_namespace_alone_names_istiod_where_the_mesh_file_does_not()
    {
        using TestHost host = TestHost.WithFixture("1.10").Mesh("defaultConfig: {meshId: m}\n").Sidecar("ISTIO_SYSTEM_NAMESPACE=mesh\n");
        Assert.Equal("istiod.mesh.svc:15012", host.Options().Xds.DiscoveryAddress);
    }

    [Theory]
    [InlineData("discovery_address: a:1\nadmin: 1\nproxy_admin_port: 15999\n")]
    [InlineData("default_config:\n  discoveryAddress: a:1\n  proxyAdminPort: 15999\n")]
    [InlineData("{\"defaultConfig\": {\"discoveryAddress\": \"a:1\", \"proxyAdminPort\": \"15999\"}}")]
    [InlineData("x: &p 15999\ndefaultConfig:\n  discoveryAddress: a:1\n  proxyAdminPort: *p\n")]
    public void Reads_wrapped_and_bare_camel_and_snake_yaml_and_json(string mesh)
    {
        using TestHost host = TestHost.WithFixture("1.31").Mesh(mesh);
        SidecarOptions options = host.Options();
        Assert.Equal(("a:1", 15999), (options.Xds.DiscoveryAddress, options.Envoy.AdminPort));
    }

    [Fact]
    public void Null_leaves_what_is_below_and_messages_replace()
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar("PROXY_CONFIG='{\"discoveryAddress\": null, \"readinessProbe\": {\"tcpSocket\": {\"port\": 1}}}'\n");
        SidecarOptions options = host.Options();
        Assert.Equal("istiod.istio-system.svc:15012", options.Xds.DiscoveryAddress);
        Assert.Equal((1, null, TimeSpan.FromSeconds(10)), (options.Probe!.Tcp!.Port, options.Probe.Http, options.Probe.Period)); // not merged with the file's
    }

    [Theory]
    [InlineData("proxyMetadata: {ISTIO_META_DNS_CAPTURE: true}", "proxyMetadata.ISTIO_META_DNS_CAPTURE", "true is a number or a boolean where text is wanted; it is taken as \"true\"")]
    [InlineData("meshId: 1.10", "meshId", "1.10 is a number or a boolean where text is wanted; it is taken as \"1.10\"")]
    [InlineData("discoveryAdress: a", "discoveryAdress", "is not a field of the proxy configuration; it is ignored")]
    [InlineData("tracing: {zipkn: {}}", "tracing.zipkn", "is not a field of the proxy configuration; it is ignored")]
    public void Is_lenient_with_a_warning(string field, string key, string problem)
    {
        using TestHost host = TestHost.WithFixture("1.31").Mesh($"defaultConfig:\n  {field}\n");
        ConfigLoad load = host.Load();
        Assert.NotNull(load.Options);
        Assert.Contains(load.Errors, e => e is { IsWarning: true, Line: 2 } && e.Key == key && e.Problem == problem && e.File == host.Paths.Mesh);
    }

    [Theory]
    [InlineData("proxyAdminPort: 70000", "proxyAdminPort", "'70000' is not a port")]
    [InlineData("proxyAdminPort: 15O00", "proxyAdminPort", "'15O00' is not a whole number")]
    [InlineData("statusPort: -1", "statusPort", "'-1' is not a port")]
    [InlineData("drainDuration: 45", "drainDuration", "'45' is not a duration")]
    [InlineData("controlPlaneAuthPolicy: SOME", "controlPlaneAuthPolicy", "'SOME' is not one of NONE, MUTUAL_TLS")]
    [InlineData("discoveryAddress: [a]", "discoveryAddress", "is not one value")]
    [InlineData("discoveryAddress: 'istiod:99999'", "discoveryAddress", "'istiod:99999' is not host:port")]
    [InlineData("discoveryAddress: fd00::1:15012", "discoveryAddress", "'fd00::1:15012' is not host:port")]
    [InlineData("readinessProbe: {periodSeconds: 1}", "readinessProbe", "says how often but not what to probe")]
    [InlineData("readinessProbe: {httpGet: {path: /}}", "readinessProbe.httpGet.port", "'0' is not a port")]
    [InlineData("readinessProbe: {exec: {command: []}}", "readinessProbe.exec.command", "is empty")]
    [InlineData("readinessProbe: {httpGet: {port: 1}, exec: {command: [a]}}", "readinessProbe", "has httpGet and exec")]
    [InlineData("binaryPath: ''", "binaryPath", "is empty")]
    [InlineData("concurrency: -2", "concurrency", "'-2' is not a number of threads")]
    public void Reports_what_cannot_be_meant(string field, string key, string problem)
    {
        using TestHost host = TestHost.WithFixture("1.31").Mesh($"defaultConfig:\n  {field}\n");
        ConfigLoad load = host.Load();
        Assert.Null(load.Options);
        ConfigError error = Assert.Single(load.Mistakes);
        Assert.Equal((host.Paths.Mesh, 2, key, problem), (error.File, error.Line, error.Key, error.Problem));
    }

    [Theory]
    [InlineData("a: [b", 1)]
    [InlineData("defaultConfig:\n  a: 1\n  a: 2\n", 3)]
    [InlineData("defaultConfig:\n\tb: 1\n", 2)]
    [InlineData("- a\n", 1)]
    public void A_broken_file_is_one_mistake_with_its_line(string mesh, int line)
    {
        using TestHost host = TestHost.WithFixture("1.31").Mesh(mesh);
        ConfigError error = Assert.Single(host.Load().Mistakes);
        Assert.Equal((host.Paths.Mesh, line), (error.File, error.Line));
    }

    [Fact]
    public void A_mistake_in_proxy_config_has_the_line_of_the_variable()
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar("# one\nPROXY_CONFIG='\n  drainDuration: 5s\n  proxyAdminPort: x\n'\n");
        ConfigError error = Assert.Single(host.Load().Mistakes);
        Assert.Equal((host.Paths.SidecarEnv, 4, "proxyAdminPort"), (error.File, error.Line, error.Key));
    }

    [Fact]
    public void The_mesh_file_alone_suffices()
    {
        using TestHost host = TestHost.WithFixture("1.31");
        File.Delete(host.Paths.ClusterEnv);
        SidecarOptions options = host.Options();
        Assert.Equal("vm-ns", options.Identity.Namespace);
        Assert.True(options.Dns.Enabled);
        Assert.Equal("vm-app", (string?)options.Node.Metadata["AUTO_REGISTER_GROUP"]);
    }

    [Fact]
    public void Deep_large_and_self_referring_documents_are_refused()
    {
        foreach (string text in (string[])[new string('[', 100_000), "a: " + new string('{', 5_000), "a: &a [*a]",
            "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]"])
        {
            List<ConfigError> errors = [];
            Assert.Null(YamlTree.Parse("f", text, errors));
            Assert.Single(errors);
        }
    }

    [Fact]
    public void Arbitrary_text_never_throws()
    {
        const string Alphabet = "ab:-[]{},&*!|>'\"%@` \n\t#?~01\u00e9\0\uD83D";
        for (int seed = 0; seed < 3_000; seed++)
        {
            var random = new Random(seed);
            string text = new([.. Enumerable.Range(0, random.Next(0, 80)).Select(_ => Alphabet[random.Next(Alphabet.Length)])]);
            ProxyConfigDocument.ReadMesh("f", text, []);
            _ = GoValue.TryUnquote(text, out _);
            _ = GoValue.TryDuration(text, out _);
            _ = HostPort.TryParse(text, out _);
            _ = JsonText.Parse(text);
        }
    }
}
