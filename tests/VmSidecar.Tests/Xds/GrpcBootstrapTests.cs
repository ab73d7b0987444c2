using System.Text.Json.Nodes;

using VmSidecar.Configuration;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>The bootstrap of proxyless clients (reference 03 §10).</summary>
public sealed class GrpcBootstrapTests
{
    [Fact]
    public void It_names_socket_node_and_certificates()
    {
        var options = new XdsOptions
        {
            Socket = "/etc/istio/proxy/XDS", DiscoveryAddress = "istiod:15012", StateDirectory = "/tmp",
            Node = new NodeOptions("sidecar~10.0.0.5~vm1.ns~ns.svc.cluster.local", "c", "eu", "", "", new JsonObject { ["INSTANCE_IPS"] = "10.0.0.5" }, ["10.0.0.5"]),
        };
        string text = GrpcBootstrap.Render(options, "/etc/certs");
        JsonNode document = JsonNode.Parse(text)!;
        Assert.Equal("unix:///etc/istio/proxy/XDS", (string?)document["xds_servers"]![0]!["server_uri"]);
        Assert.Equal("insecure", (string?)document["xds_servers"]![0]!["channel_creds"]![0]!["type"]);
        Assert.Equal("grpc", (string?)document["node"]!["metadata"]!["GENERATOR"]);
        Assert.Equal("10.0.0.5", (string?)document["node"]!["metadata"]!["INSTANCE_IPS"]);
        Assert.Equal("eu", (string?)document["node"]!["locality"]!["region"]);
        Assert.Equal("/etc/certs/key.pem", (string?)document["certificate_providers"]!["default"]!["config"]!["private_key_file"]);
        Assert.Contains("\n  \"xds_servers\"", text, StringComparison.Ordinal);
        Assert.Null(options.Node.Metadata["GENERATOR"]); // the node itself is left alone
        Assert.Empty(JsonNode.Parse(GrpcBootstrap.Render(options, null))!["certificate_providers"]!.AsObject());
    }
}
