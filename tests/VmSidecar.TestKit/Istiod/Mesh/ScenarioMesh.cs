using System.Collections.Immutable;

using VmSidecar.TestKit.Istiod.Registration;

namespace VmSidecar.TestKit.Istiod.Mesh;

/// <summary>
/// The mesh of the main scenario, namespace istio-demo: one HTTP host served by a pod (class docker) and by a VM that
/// registers itself (class vm), reached through a virtual IP. mTLS is demanded everywhere.
/// </summary>
internal static class ScenarioMesh
{
    public const string Namespace = "istio-demo";
    public const string Host = "nginx.example.com";
    public const string VmAccount = "vm";
    public const string PodAccount = "docker";

    /// <summary>What the VM registers as.</summary>
    public static WorkloadGroup VmGroup { get; } = new(Namespace, "nginx", VmAccount) { MetadataLabels = Labels("app", "nginx") };

    /// <summary>The mesh with the pod at an address.</summary>
    public static MeshModel With(string podAddress) => new()
    {
        Mtls = MtlsMode.Strict,
        Services =
        [
            new MeshService(Namespace, Host) { Ports = [new MeshPort(80, "http", MeshProtocol.Http, 80)], Selector = Labels("app", "nginx") },
        ],
        Workloads = [new MeshWorkload(Namespace, "nginx-docker", podAddress, PodAccount, Labels("app", "nginx").Add("class", "docker"))],
        Subsets = ImmutableDictionary<string, ImmutableArray<MeshSubset>>.Empty.Add(
            Host, [new MeshSubset("vm", Labels("class", "vm")), new MeshSubset("docker", Labels("class", "docker"))]),
    };

    private static ImmutableDictionary<string, string> Labels(string name, string value) => ImmutableDictionary<string, string>.Empty.Add(name, value);
}
