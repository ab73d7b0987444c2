using System.Net;
using System.Text.Json.Nodes;

using VmSidecar.Configuration;

using Xunit;

namespace VmSidecar.Tests.Configuration;

/// <summary>The files of a real istioctl become whole options.</summary>
public sealed class ConfigLoadTests
{
    [Theory]
    [InlineData("1.10")]
    [InlineData("1.31")]
    public void Reads_the_files_istioctl_writes(string version)
    {
        using TestHost host = TestHost.WithFixture(version);
        SidecarOptions options = host.Options();

        Assert.Equal("sidecar~10.0.0.12~vm1.vm-ns~vm-ns.svc.cluster.local", options.Node.Id);
        Assert.Equal("vm-app.vm-ns", options.Node.Cluster);
        Assert.Equal("istiod.istio-system.svc:15012", options.Xds.DiscoveryAddress);
        Assert.Equal("istiod.istio-system.svc:15012", options.Identity.CaAddress);
        Assert.Equal("spiffe://cluster.local/ns/vm-ns/sa/vm-sa", options.Identity.SpiffeId);
        Assert.Equal("Kubernetes", options.Identity.ClusterId);
        Assert.Equal(host.Paths.Certificates, options.Identity.OutputDirectory);
        Assert.Equal(host.Paths.Certificates, options.Identity.ProvisionedDirectory);
        Assert.Equal(Path.Combine(host.Paths.Certificates, "root-cert.pem"), options.Identity.CaRootFile);
        Assert.Equal(Path.Combine(host.Paths.Certificates, "root-cert.pem"), options.Identity.XdsRootFile);
        Assert.Equal(host.Paths.Token, options.Identity.TokenFile);
        Assert.True(options.Dns.Enabled);
        Assert.Equal([new IPEndPoint(IPAddress.Loopback, 15053), new IPEndPoint(IPAddress.IPv6Loopback, 15053)], options.Dns.Listen.AsEnumerable());
        Assert.Equal(new HttpProbe("/ready", 8080, null, "http", []), options.Probe!.Http! with { Headers = [] });
        Assert.Equal(TimeSpan.FromSeconds(1), options.Probe.InitialDelay);
        Assert.Equal(TimeSpan.FromSeconds(2), options.Probe.Period);
        Assert.Equal("10.0.0.12", options.Probe.DefaultHost);
        Assert.Equal(host.Paths.XdsSocket, options.Xds.Socket);
        Assert.Equal(host.Paths.XdsSocket, options.Envoy.XdsSocket);
        Assert.Equal(host.Paths.WorkloadSdsSocket, options.Envoy.SdsSocket);
        Assert.Equal([host.Paths.WorkloadSdsSocket, host.Paths.LegacySdsSocket], options.Sds.Sockets.AsEnumerable());
        Assert.Null(options.Xds.Delta);
        Assert.Equal(15020, options.Status.Port);
        Assert.Equal(host.Paths.At("var/log/istio/istio.log"), options.Log.File);
    }

    [Theory]
    [InlineData("1.10")]
    [InlineData("1.31")]
    public void Gives_istiod_the_metadata_it_registers_the_vm_by(string version)
    {
        using TestHost host = TestHost.WithFixture(version);
        JsonObject metadata = host.Options().Node.Metadata;

        Assert.Equal("vm-app", (string?)metadata["AUTO_REGISTER_GROUP"]);
        Assert.Equal("vm-ns", (string?)metadata["NAMESPACE"]);
        Assert.Equal("vm-sa", (string?)metadata["SERVICE_ACCOUNT"]);
        Assert.Equal("10.0.0.12", (string?)metadata["INSTANCE_IPS"]);
        Assert.Equal("", (string?)metadata["NETWORK"]);
        Assert.Equal("[{\"name\":\"http\",\"containerPort\":8080,\"protocol\":\"\"}]", (string?)metadata["POD_PORTS"]); // 1.10's double encoding undone
        Assert.Equal("vm", (string?)metadata["LABELS"]!["version"]);
        Assert.Equal("vm", (string?)metadata["version"]);
        Assert.Equal("/ready", (string?)metadata["PROXY_CONFIG"]!["readinessProbe"]!["httpGet"]!["path"]);
        Assert.Equal("istiod.istio-system.svc", (string?)metadata["PILOT_SAN"]![0]);
    }
}
