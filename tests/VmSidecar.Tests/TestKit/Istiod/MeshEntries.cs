using System.Collections.Immutable;

using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Mesh;

namespace VmSidecar.Tests.TestKit.Istiod;

/// <summary>The configuration the recorded istiods served, as a model. Left out: the host that is resolved by DNS has no EDS cluster here.</summary>
internal static class MeshEntries
{
    public static MeshModel For(IstiodVersion version)
    {
        string Workload(string name, string group) => version == IstiodVersion.V1_10 ? ";;;;" : $"{name};vm-ns;{group};;Kubernetes";
        MeshService Service(string host, MeshPort port) => new("vm-ns", host) { Ports = [port] };
        MeshEndpoint Endpoint(string address, int port, string name, string group, params string[] labels) => new(
            address, port, "", Workload(name, group), labels.Chunk(2).ToImmutableDictionary(l => l[0], l => l[1]));
        var http = new MeshPort(80, "http", MeshProtocol.Http, 80);
        return new MeshModel
        {
            IstioFilters = true,
            Services =
            [
                Service("www.external.example", http) with { IsExternal = true },
                Service("mongo.example.com", new MeshPort(27017, "tcp", MeshProtocol.Tcp, 27017)) with { Endpoints = [Endpoint("127.0.0.13", 27017, "mongo-0", "mongo-0")] },
                Service("nginx.example.com", http) with
                {
                    Endpoints =
                    [
                        Endpoint("10.99.0.11", 8081, "nginx-0", "nginx", "app", "nginx", "class", "pod"),
                        Endpoint("10.99.0.12", 8082, "nginx-1", "nginx", "app", "nginx", "class", "vm"),
                    ],
                },
                Service("six.example.com", http) with
                {
                    Addresses = version == IstiodVersion.V1_10 ? ["198.51.100.10"] : ["2001:db8::10", "198.51.100.10"],
                    Endpoints = [Endpoint("127.0.0.15", 80, "six-0", "six-0"), Endpoint("127.0.0.15", 80, "six-0", "six-0")], // once for each address
                },
                Service("vm-app.vm-ns.svc.cluster.local", http with { Target = 8080 }) with { Selector = ImmutableDictionary<string, string>.Empty.Add("app", "vm-app") },
                Service("*.wild.example.com", new MeshPort(443, "tls", MeshProtocol.Tcp, 443)) with
                {
                    Addresses = ["240.0.9.9"], IsExternal = true, Endpoints = [Endpoint("127.0.0.14", 443, "wild-0", "wild-0")],
                },
            ],
            PlainHosts = ["nginx.example.com"],
            Subsets = ImmutableDictionary<string, ImmutableArray<MeshSubset>>.Empty.Add(
                "nginx.example.com", [new MeshSubset("pod", Label("pod")), new MeshSubset("vm", Label("vm"))]),
        };
    }

    private static ImmutableDictionary<string, string> Label(string value) => ImmutableDictionary<string, string>.Empty.Add("class", value);
}
