using System.Net;
using System.Text.Json.Nodes;

using VmSidecar.Configuration;
using VmSidecar.Tests.Envoy;

using Xunit;

namespace VmSidecar.Tests.Configuration;

/// <summary>The node istiod sees, against those of real pilot-agents, and the rules for each key.</summary>
public sealed class NodeMetadataTests
{
    private const string Recorded = """
        POD_NAME=vm1
        ISTIO_NAMESPACE=vm-ns
        SERVICE_ACCOUNT=vm-sa
        INSTANCE_IP=10.99.0.2
        ISTIO_META_AUTO_REGISTER_GROUP=vm-app
        ISTIO_META_CLUSTER_ID=Kubernetes
        ISTIO_META_DNS_CAPTURE=true
        ISTIO_META_MESH_ID=mesh1
        ISTIO_META_NETWORK=
        ISTIO_META_WORKLOAD_NAME=vm-app
        ISTIO_METAJSON_LABELS='{"app":"vm-app","service.istio.io/canonical-name":"vm-app","service.istio.io/canonical-revision":"latest"}'

        """;

    private const string Mesh = """
        defaultConfig:
          meshId: mesh1
          proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true"}
          readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 2}
        """;

    [Fact]
    public void Is_what_pilot_agent_1_31_sends()
    {
        Assert.Empty(JsonPaths.Differences(Fixture("pilot-agent-1.31.json"), Node()));
    }

    [Fact]
    public void Is_what_pilot_agent_1_10_sends_but_for_the_differences_listed()
    {
        const string M = "/metadata/";
        string[] expected =
        [
            "- /cluster = \"istio-proxy\"", "+ /cluster = \"vm-app.vm-ns\"", // a name that says which workload
            $"- {M}INSTANCE_IPS = \"10.99.0.2,fe80::f828:1aff:fed1:bc85\"", $"+ {M}INSTANCE_IPS = \"10.99.0.2\"", // link-local addresses reach nobody
            $"- {M}PILOT_CERT_PROVIDER = \"istiod\"", $"- {M}PROV_CERT = \"./etc/certs/root-cert.pem\"", $"- {M}PROXY_VIA_AGENT = true", // for its own bootstrap template
            $"- {M}PROXY_CONFIG/concurrency = 2", $"- {M}PROXY_CONFIG/parentShutdownDuration = \"60s\"", $"- {M}PROXY_CONFIG/tracing/zipkin/address = \"zipkin.istio-system:9411\"",
            $"+ {M}ENVOY_PROMETHEUS_PORT = 15090", $"+ {M}ENVOY_STATUS_PORT = 15021", $"+ {M}ENVOY_SKIP_DEPRECATED_LOGS = \"true\"", $"+ {M}METADATA_DISCOVERY = \"false\"",
            $"+ {M}ISTIO_VERSION = \"1.31.0\"", $"+ {M}WORKLOAD_IDENTITY_SOCKET_FILE = \"socket\"",
            $"+ {M}STATIC_LABELS/app = \"vm-app\"", $"+ {M}STATIC_LABELS/service.istio.io/canonical-name = \"vm-app\"", $"+ {M}STATIC_LABELS/service.istio.io/canonical-revision = \"latest\"",
        ];
        Assert.Equal(expected.Order(StringComparer.Ordinal), JsonPaths.Differences(Fixture("pilot-agent-1.10.json"), Node()).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Virtual_ips_are_asked_for_when_dns_is_captured_unless_refused()
    {
        Assert.Equal("true", (string?)Metadata("ISTIO_META_DNS_CAPTURE=true\n")["DNS_AUTO_ALLOCATE"]);
        Assert.Equal("false", (string?)Metadata("ISTIO_META_DNS_CAPTURE=true\nISTIO_META_DNS_AUTO_ALLOCATE=false\n")["DNS_AUTO_ALLOCATE"]);
        Assert.Null(Metadata("ISTIO_META_DNS_CAPTURE=false\n")["DNS_AUTO_ALLOCATE"]);
    }

    [Theory]
    [InlineData("yes", "true")]
    [InlineData("On", "true")]
    [InlineData("no", "false")]
    [InlineData("T", "T")]
    [InlineData("0", "0")]
    public void Booleans_reach_istiod_in_a_form_it_decodes(string given, string sent) =>
        Assert.Equal(sent, (string?)Metadata($"ISTIO_META_DNS_CAPTURE={given}\n")["DNS_CAPTURE"]);

    [Fact]
    public void Empty_booleans_and_ports_are_left_out_and_other_empties_sent()
    {
        JsonObject metadata = Metadata("ISTIO_META_DNS_CAPTURE=''\nISTIO_META_POD_PORTS=''\nISTIO_META_NETWORK=''\n");
        Assert.False(metadata.ContainsKey("DNS_CAPTURE"));
        Assert.False(metadata.ContainsKey("POD_PORTS"));
        Assert.Equal("", (string?)metadata["NETWORK"]);
    }

    [Theory]
    [InlineData("'[{\"name\":\"http\",\"containerPort\":8080}]'", "[{\"name\":\"http\",\"containerPort\":8080}]")]
    [InlineData("'\"[{\\\"name\\\":\\\"http\\\"}]\"'", "[{\"name\":\"http\"}]")]
    public void Both_encodings_of_ports_are_read(string given, string sent) =>
        Assert.Equal(sent, (string?)Metadata($"ISTIO_META_POD_PORTS={given}\n")["POD_PORTS"]);

    [Theory]
    [InlineData("8080")]
    [InlineData("{}")]
    [InlineData("[")]
    public void Ports_that_are_no_list_are_a_mistake(string given)
    {
        using TestHost host = new TestHost().Cluster($"ISTIO_NAMESPACE=n\nISTIO_META_POD_PORTS='{given}'\n");
        ConfigError error = Assert.Single(host.Load().Mistakes);
        Assert.Equal((2, $"'{given}' is not a list of ports"), (error.Line, error.Problem));
    }

    [Fact]
    public void Members_of_json_variables_stand_at_top_level_over_plain_ones()
    {
        JsonObject metadata = Metadata("ISTIO_META_a=plain\nISTIO_METAJSON_ANY='{\"a\":\"json\",\"n\":{\"x\":1}}'\nISTIO_METAJSON_BAD=x\n");
        Assert.Equal("json", (string?)metadata["a"]);
        Assert.Equal("1", metadata["n"]!["x"]!.ToJsonString());
    }

    [Fact]
    public void What_would_make_the_node_undecodable_is_ignored_with_a_warning()
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar("ISTIO_META_LABELS=x\nISTIO_META_PROXY_CONFIG=x\nISTIO_METAJSON_X='{\"PILOT_SAN\":\"x\"}'\n");
        ConfigLoad load = host.Load();
        Assert.Equal(3, load.Errors.Count(e => e.IsWarning && e.File == host.Paths.SidecarEnv));
        Assert.IsType<JsonObject>(load.Options!.Node.Metadata["LABELS"]);
        Assert.IsType<JsonArray>(load.Options.Node.Metadata["PILOT_SAN"]);
    }

    [Theory]
    [InlineData("{\"istio-locality\":\"regionA.zoneB.sub_zoneC\"}", "regionA", "zoneB", "sub_zoneC")]
    [InlineData("{\"istio-locality\":\"r1/z.1/s/extra\"}", "r1", "z.1", "s")]
    [InlineData("{\"istio-locality\":\"a.b\",\"topology.istio.io/locality\":\"c/d\"}", "c", "d", "")]
    [InlineData("{}", "", "", "")]
    public void Locality_comes_from_labels(string labels, string region, string zone, string subZone)
    {
        using TestHost host = TestHost.WithFixture("1.31").Cluster($"ISTIO_NAMESPACE=n\nISTIO_METAJSON_LABELS='{labels}'\n");
        NodeOptions node = host.Options().Node;
        Assert.Equal((region, zone, subZone), (node.Region, node.Zone, node.SubZone));
    }

    [Theory]
    [InlineData("serviceCluster: given", "{}", "given")]
    [InlineData("meshId: m", "{\"app\":\"a\",\"app.kubernetes.io/name\":\"k\"}", "a.n")]
    [InlineData("meshId: m", "{\"app.kubernetes.io/name\":\"k\"}", "k.n")]
    [InlineData("meshId: m", "{}", "w.n")]
    [InlineData("tracingServiceName: CANONICAL_NAME_ONLY", "{\"service.istio.io/canonical-name\":\"c\",\"app\":\"a\"}", "c")]
    [InlineData("tracingServiceName: CANONICAL_NAME_AND_NAMESPACE", "{\"app\":\"a\"}", "a.n")]
    [InlineData("tracingServiceName: APP_LABEL_AND_NAMESPACE\n  serviceCluster: given", "{\"app\":\"a\"}", "a.n")]
    public void The_cluster_names_the_workload(string mesh, string labels, string cluster)
    {
        using TestHost host = TestHost.WithFixture("1.31").Mesh($"defaultConfig:\n  {mesh}\n").Cluster($"ISTIO_NAMESPACE=n\nISTIO_META_WORKLOAD_NAME=w\nISTIO_METAJSON_LABELS='{labels}'\n");
        Assert.Equal(cluster, host.Options().Node.Cluster);
    }

    [Fact]
    public void Istiods_name_is_right_for_ipv6_localhost_and_plaintext()
    {
        Assert.Equal("[\"fd00::1\"]", Metadata("PILOT_ADDRESS='[fd00::1]:15012'\n")["PILOT_SAN"]!.ToJsonString());
        Assert.Equal("[\"istiod.istio-system.svc\"]", Metadata("PILOT_ADDRESS=localhost:15012\n")["PILOT_SAN"]!.ToJsonString());
        Assert.Null(Metadata("ISTIO_CP_AUTH=NONE\n")["PILOT_SAN"]);
    }

    [Theory]
    [InlineData(null, "10.0.0.12,172.17.0.1,2001:db8::5")] // the one that routes first; never link-local, loopback or multicast
    [InlineData("198.51.100.7", "198.51.100.7,10.0.0.12,172.17.0.1,2001:db8::5")]
    public void The_address_that_routes_to_istiod_comes_first(string? given, string expected)
    {
        var network = new FakeNetwork("fe80::1%2", "169.254.3.4", "172.17.0.1", "::ffff:10.0.0.12", "2001:db8::5", "127.0.0.2", "0.0.0.0") { Routed = "10.0.0.12" };
        IEnumerable<string> list = NodeAddresses.Select(given is null ? null : IPAddress.Parse(given), IPAddress.Parse("203.0.113.7"), network).Select(a => a.ToString());
        Assert.Equal(expected, string.Join(',', list));
        Assert.Equal("203.0.113.7", network.Asked[0].ToString());
    }

    [Fact]
    public void Istiods_address_is_looked_up_in_the_hosts_file_only()
    {
        const string Hosts = "127.0.0.1 localhost\n# 1.2.3.4 istiod.istio-system.svc\n203.0.113.7\tother istiod.istio-system.svc # x\r\n";
        Assert.Equal("203.0.113.7", NodeAddresses.Lookup("Istiod.istio-system.svc", Hosts)!.ToString());
        Assert.Null(NodeAddresses.Lookup("elsewhere", Hosts));
        Assert.Equal("10.1.1.1", NodeAddresses.Lookup("10.1.1.1", Hosts)!.ToString());
    }

    [Theory]
    [InlineData("ISTIO_SVC_IP=192.0.2.9\nINSTANCE_IP=192.0.2.8", "192.0.2.9")]
    [InlineData("ISTIO_SVC_IP=''\nINSTANCE_IP=192.0.2.8", "192.0.2.8")]
    [InlineData("INSTANCE_IP=nonsense", "10.0.0.12")]
    [InlineData("", "10.0.0.12")]
    public void The_service_ip_beats_the_instance_ip(string sidecar, string first)
    {
        using TestHost host = TestHost.WithFixture("1.31").Sidecar(sidecar + "\n");
        Assert.Equal(first, host.Options().Node.Addresses[0]);
    }

    private static JsonObject Metadata(string sidecar)
    {
        using TestHost host = new TestHost().Cluster("ISTIO_NAMESPACE=n\nSERVICE_ACCOUNT=s\n" + sidecar);
        return host.Options().Node.Metadata;
    }

    private static JsonObject Node()
    {
        using TestHost host = new TestHost().Cluster(Recorded).Mesh(Mesh);
        host.Network = new FakeNetwork("10.99.0.2", "fe80::f828:1aff:fed1:bc85");
        NodeOptions node = host.Options().Node;
        return new() { ["id"] = node.Id, ["cluster"] = node.Cluster, ["locality"] = new JsonObject(), ["metadata"] = node.Metadata.DeepClone() };
    }

    private static JsonNode Fixture(string name)
    {
        JsonNode node = JsonNode.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Fixtures/bootstrap", name)))!["node"]!;
        if (node["metadata"]!["DNS_AUTO_ALLOCATE"] is null) { Assert.Fail("the recorded node asks for virtual IPs"); }
        return node.DeepClone();
    }
}
