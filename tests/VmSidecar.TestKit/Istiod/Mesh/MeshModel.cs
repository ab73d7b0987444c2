using System.Collections.Immutable;

namespace VmSidecar.TestKit.Istiod.Mesh;

/// <summary>The configuration of a small mesh, as its resources say it. Immutable; replaced to change it.</summary>
internal sealed record MeshModel
{
    public ImmutableArray<MeshService> Services { get; init; } = [];

    /// <summary>Pods: workloads that do not register themselves.</summary>
    public ImmutableArray<MeshWorkload> Workloads { get; init; } = [];

    /// <summary>DestinationRule subsets by host.</summary>
    public ImmutableDictionary<string, ImmutableArray<MeshSubset>> Subsets { get; init; } = ImmutableDictionary<string, ImmutableArray<MeshSubset>>.Empty;

    /// <summary>VirtualService destinations by host; none: all endpoints alike.</summary>
    public ImmutableDictionary<string, ImmutableArray<MeshDestination>> Routes { get; init; } = ImmutableDictionary<string, ImmutableArray<MeshDestination>>.Empty;

    /// <summary>Hosts whose DestinationRule says TLS DISABLE.</summary>
    public ImmutableHashSet<string> PlainHosts { get; init; } = [];

    /// <summary>PeerAuthentication of the whole mesh.</summary>
    public MtlsMode Mtls { get; init; } = MtlsMode.Permissive;

    /// <summary>True: with Istio's own filters, and 1.10's extensions without a configuration, as a default istiod sends. False: what any Envoy accepts.</summary>
    public bool IstioFilters { get; init; }

    /// <summary>Access logs go to Envoy's standard output.</summary>
    public bool AccessLog { get; init; } = true;

    /// <summary>The subset <paramref name="name"/> of a host gets all requests; null: the route is taken away.</summary>
    public MeshModel RouteTo(string host, string? name) =>
        this with { Routes = name is null ? Routes.Remove(host) : Routes.SetItem(host, [new MeshDestination(name, 100)]) };
}

/// <summary>PeerAuthentication modes.</summary>
internal enum MtlsMode
{
    Permissive,
    Strict,
    Disable,
}

/// <summary>A part of a host's endpoints, by labels.</summary>
internal sealed record MeshSubset(string Name, ImmutableDictionary<string, string> Labels);

/// <summary>One destination of a route.</summary>
internal sealed record MeshDestination(string Subset, uint Weight);

/// <summary>A pod.</summary>
internal sealed record MeshWorkload(string Namespace, string Name, string Address, string ServiceAccount, ImmutableDictionary<string, string> Labels);
