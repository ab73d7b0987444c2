using System.Collections.Immutable;

namespace VmSidecar.TestKit.Istiod.Mesh;

/// <summary>A ServiceEntry, or (with <see cref="IsKubernetes"/>) a Service.</summary>
internal sealed record MeshService(string Namespace, string Host)
{
    public ImmutableArray<MeshPort> Ports { get; init; } = [];

    /// <summary>Addresses of its own; none: istiod allocates a virtual one for nodes that ask.</summary>
    public ImmutableArray<string> Addresses { get; init; } = [];

    /// <summary>Endpoints written into the ServiceEntry.</summary>
    public ImmutableArray<MeshEndpoint> Endpoints { get; init; } = [];

    /// <summary>Picks pods and WorkloadEntries by label; empty: none.</summary>
    public ImmutableDictionary<string, string> Selector { get; init; } = ImmutableDictionary<string, string>.Empty;

    public bool IsKubernetes { get; init; }

    /// <summary>MESH_EXTERNAL: spoken to without mTLS.</summary>
    public bool IsExternal { get; init; }

    /// <summary>What its DestinationRule and VirtualService are called.</summary>
    public string RuleName => Host.Split('.')[0];

    /// <summary>True when the selector picks these labels.</summary>
    public bool Selects(IReadOnlyDictionary<string, string> labels) => !Selector.IsEmpty && Selector.All(s => labels.TryGetValue(s.Key, out string? value) && value == s.Value);
}

/// <summary>A port of a service. <paramref name="Target"/> is where workloads listen.</summary>
internal sealed record MeshPort(int Number, string Name, MeshProtocol Protocol, int Target);

/// <summary>What a port speaks.</summary>
internal enum MeshProtocol
{
    Http,
    Tcp,
}

/// <summary>One place that serves a service port. <paramref name="ServiceAccount"/> set: it has a sidecar and is spoken to with mTLS.</summary>
internal sealed record MeshEndpoint(string Address, int Port, string ServiceAccount, string Workload, ImmutableDictionary<string, string> Labels);
