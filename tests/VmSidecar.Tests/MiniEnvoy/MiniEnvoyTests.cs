using System.Collections.Immutable;

using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Namespaces;

using Xunit;

namespace VmSidecar.Tests.MiniEnvoy;

/// <summary>The test data plane with FakeIstiod's resources, real redirection and real curl. The scenario is its main test.</summary>
public sealed class MiniEnvoyTests
{
    private static readonly ImmutableDictionary<string, string> Labels = ImmutableDictionary<string, string>.Empty.Add("app", "nginx");

    private static readonly MeshModel Mesh = new()
    {
        Services = [new MeshService("istio-demo", "nginx.example.com") { Addresses = ["240.240.0.1"], Ports = [new MeshPort(80, "http", MeshProtocol.Http, 8080)], Selector = Labels }],
        Workloads = [new MeshWorkload("istio-demo", "nginx-1", MiniEnvoyRig.Address, "vm", Labels)],
    };

    [Theory]
    [InlineData("GRPC", false)]
    [InlineData("DELTA_GRPC", true)]
    public async Task A_request_goes_through_both_sides_with_mTLS(string apiType, bool strict)
    {
        if (!NetworkNamespace.IsPossible) { Assert.Skip("needs root for a network namespace"); }
        await using MiniEnvoyRig rig = await MiniEnvoyRig.StartAsync(Mesh with { Mtls = strict ? MtlsMode.Strict : MtlsMode.Permissive }, apiType);
        await rig.UntilAsync("http://127.0.0.1:15000/ready", a => a == "LIVE\n");

        string through = await rig.CurlAsync("http://nginx.example.com/ --resolve nginx.example.com:80:240.240.0.1");
        Assert.StartsWith("welcome from=127.0.0.6 bytes=0 xfcc=By=spiffe://cluster.local/ns/istio-demo/sa/vm;Hash=", through, StringComparison.Ordinal);
        Assert.EndsWith(";URI=spiffe://cluster.local/ns/istio-demo/sa/vm\n", through, StringComparison.Ordinal);

        string direct = await rig.CurlAsync($"http://{MiniEnvoyRig.Address}:8080/ -H x-forwarded-client-cert:URI=spiffe://forged");
        if (strict) { Assert.True(direct is "exit 52" or "exit 56", direct); } // closed without an answer, or reset
        else { Assert.Equal("welcome from=127.0.0.6 bytes=0 xfcc=none\n", direct); }

        string file = Path.GetTempFileName();
        await File.WriteAllBytesAsync(file, new byte[3_000_000]);
        Assert.Contains("bytes=3000000 ", await rig.CurlAsync($"http://nginx.example.com/ --resolve nginx.example.com:80:240.240.0.1 --data-binary @{file}"), StringComparison.Ordinal);
        Assert.Contains("bytes=3000000 ", await rig.CurlAsync($"http://nginx.example.com/ --resolve nginx.example.com:80:240.240.0.1 -H transfer-encoding:chunked --data-binary @{file}"), StringComparison.Ordinal);
        File.Delete(file);

        Assert.Equal("cluster_manager.cds.update_success: 1\nlistener_manager.lds.update_success: 1\nlistener_manager.workers_started: 1\nserver.state: 0\n", await rig.CurlAsync(
            "http://127.0.0.1:15000/stats?usedonly&filter=^(cluster_manager\\.cds|listener_manager\\.lds)\\.(update_success|update_rejected)$|^(server\\.state|listener_manager\\.workers_started) -g"));
        Assert.Equal(
            ["CDS [] node", "EDS [outbound|80||nginx.example.com]", "CDS [] ACK"],
            rig.Control.Requests.Take(3));
        Assert.DoesNotContain(rig.Control.Requests, r => r.Contains("NACK", StringComparison.Ordinal));

        using var term = System.Diagnostics.Process.Start("kill", ["-TERM", $"{rig.Envoy!.Id}"]);
        await rig.Envoy.WaitForExitAsync().WaitAsync(Test.Deadline);
        Assert.Equal(0, rig.Envoy.ExitCode);
    }

    [Fact]
    public async Task A_filter_it_does_not_have_is_refused_and_workers_start_with_what_is_good()
    {
        if (!NetworkNamespace.IsPossible) { Assert.Skip("needs root for a network namespace"); }
        await using MiniEnvoyRig rig = await MiniEnvoyRig.StartAsync(Mesh with { IstioFilters = true }, "GRPC");
        await rig.UntilAsync("http://127.0.0.1:15000/stats?filter=cds.update_rejected", a => a == "cluster_manager.cds.update_rejected: 1\n");
        await Test.UntilAsync(() => rig.Control.Requests.Any(r => r.StartsWith("CDS [] NACK Error adding/updating cluster(s) outbound|80||nginx.example.com: Didn't find a registered implementation for 'istio.metadata_exchange'", StringComparison.Ordinal))); // counted, then sent
        await rig.UntilAsync("http://127.0.0.1:15000/stats?filter=lds.update_rejected", a => a == "listener_manager.lds.update_rejected: 1\n");
    }

    [Fact]
    public async Task A_pushed_route_is_used_by_the_next_request()
    {
        if (!NetworkNamespace.IsPossible) { Assert.Skip("needs root for a network namespace"); }
        MeshModel two = Mesh with { Subsets = Mesh.Subsets.Add("nginx.example.com", [new MeshSubset("none", Labels.Add("version", "none"))]) };
        await using MiniEnvoyRig rig = await MiniEnvoyRig.StartAsync(two, "GRPC");
        const string Request = "http://nginx.example.com/ --resolve nginx.example.com:80:240.240.0.1";
        await rig.UntilAsync(Request, a => a.StartsWith("welcome", StringComparison.Ordinal));
        rig.Control.Mesh.Model = two.RouteTo("nginx.example.com", "none");
        await rig.Control.PushAsync("RDS");
        await rig.UntilAsync(Request, a => a == "no healthy upstream");
        rig.Control.Mesh.Model = two;
        await rig.Control.PushAsync("RDS");
        await rig.UntilAsync(Request, a => a.StartsWith("welcome", StringComparison.Ordinal));
        Assert.Equal("HTTP/1.1 404 Not Found", (await rig.CurlAsync("-i http://127.0.0.1:15021/other")).Split('\r')[0]);
        Assert.Contains("# TYPE envoy_server_state gauge", await rig.CurlAsync("http://127.0.0.1:15090/stats/prometheus"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task With_resources_of_1_10_TCP_goes_by_address_and_a_lost_stream_comes_back_with_all_it_had()
    {
        if (!NetworkNamespace.IsPossible) { Assert.Skip("needs root for a network namespace"); }
        MeshModel mesh = Mesh with
        {
            Services = [.. Mesh.Services, new MeshService("istio-demo", "tcp.example.com") { Addresses = ["240.240.0.2"], Ports = [new MeshPort(9000, "tcp", MeshProtocol.Tcp, 8080)], Selector = Labels }],
        };
        await using MiniEnvoyRig rig = await MiniEnvoyRig.StartAsync(mesh, "GRPC", IstiodVersion.V1_10);
        await rig.UntilAsync("http://127.0.0.1:15000/ready", a => a == "LIVE\n");
        Assert.StartsWith("welcome from=127.0.0.6 ", await rig.CurlAsync("http://240.240.0.2:9000/"), StringComparison.Ordinal);
        Assert.StartsWith("welcome from=127.0.0.6 ", await rig.CurlAsync("http://nginx.example.com/ --resolve nginx.example.com:80:240.240.0.1"), StringComparison.Ordinal);

        rig.Control.Requests.Clear();
        await rig.Control.CutAsync();
        await rig.UntilAsync("http://127.0.0.1:15000/stats?filter=cds.update_success", a => a == "cluster_manager.cds.update_success: 2\n");
        Assert.Equal(
            ["CDS [] node", "EDS [outbound|80||nginx.example.com outbound|9000||tcp.example.com]", "LDS []", "RDS [80]"],
            rig.Control.Requests.Where(r => !r.EndsWith("ACK", StringComparison.Ordinal)).Take(4));
        Assert.Contains("gRPC config stream to xds-grpc closed: 14, server is shutting down", rig.Log, StringComparison.Ordinal);

        Assert.Equal("OK\n", await rig.CurlAsync("-X POST http://127.0.0.1:15000/drain_listeners?inboundonly&graceful"));
        Assert.Contains("connection: close\r\n", await rig.CurlAsync($"-i http://{MiniEnvoyRig.Address}:8080/"), StringComparison.Ordinal);
        Assert.Equal("Method Not Allowed", await rig.CurlAsync("http://127.0.0.1:15000/drain_listeners?inboundonly&graceful"));
    }
}
