using System.Collections.Immutable;

using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Registration;

namespace VmSidecar.TestKit.Istiod.Mesh;

/// <summary>The mesh as one node sees it now: model and registered VMs joined. Made for one answer.</summary>
internal sealed class MeshView(MeshModel model, IstiodOptions options, ImmutableArray<WorkloadEntry> entries, ImmutableArray<WorkloadGroup> groups, ProxyNode node)
{
    private readonly ImmutableDictionary<string, string> _virtual = VirtualAddresses.Allocate(model.Services, options.Version);

    public MeshModel Model => model;
    public ProxyNode Node => node;
    public string TrustDomain => options.TrustDomain;
    public bool IsOld => options.Version == IstiodVersion.V1_10;
    public string InboundPassthrough => IsOld ? "InboundPassthroughClusterIpv4" : "InboundPassthroughCluster";

    /// <summary>The addresses a service has for this node: its own, else the virtual one if the node asked for such.</summary>
    public IReadOnlyList<string> AddressesOf(MeshService service) =>
        service.Addresses.Length > 0 ? service.Addresses
        : node.AllocatesAddresses && _virtual.TryGetValue(service.Host, out string? address) ? [address]
        : [];

    /// <summary>Endpoints of a port, of one subset or of all: written ones, pods, and VMs that are offered.</summary>
    public IEnumerable<MeshEndpoint> EndpointsOf(MeshService service, MeshPort port, string subset)
    {
        IEnumerable<MeshEndpoint> pods = model.Workloads.Where(w => service.Selects(w.Labels))
            .Select(w => new MeshEndpoint(w.Address, port.Target, w.ServiceAccount, $"{w.Name};{w.Namespace};{w.Name};;Kubernetes", w.Labels));
        IEnumerable<MeshEndpoint> vms = entries.Where(e => e.IsOffered && service.Selects(e.Labels))
            .Select(e => new MeshEndpoint(e.Address, port.Target, e.ServiceAccount, $"{e.Name};{e.Namespace};{e.Group};;Kubernetes", e.Labels));
        ImmutableDictionary<string, string> wanted = subset.Length == 0
            ? ImmutableDictionary<string, string>.Empty
            : SubsetsOf(service).First(s => s.Name == subset).Labels;
        return service.Endpoints.Concat(pods).Concat(vms)
            .Where(e => wanted.All(l => e.Labels.TryGetValue(l.Key, out string? value) && value == l.Value));
    }

    public ImmutableArray<MeshSubset> SubsetsOf(MeshService service) => model.Subsets.TryGetValue(service.Host, out ImmutableArray<MeshSubset> subsets) ? subsets : [];

    /// <summary>The identities a client accepts from a service: of its endpoints, pods and whole workload groups, registered or not.</summary>
    public IReadOnlyList<string> IdentitiesOf(MeshService service)
    {
        IEnumerable<string> written = service.Endpoints.Where(e => e.ServiceAccount.Length > 0).Select(e => Spiffe(service.Namespace, e.ServiceAccount));
        IEnumerable<string> pods = model.Workloads.Where(w => service.Selects(w.Labels)).Select(w => Spiffe(w.Namespace, w.ServiceAccount));
        IEnumerable<string> vms = groups.Where(g => service.Selects(g.TemplateLabels.SetItems(g.MetadataLabels))).Select(g => Spiffe(g.Namespace, g.ServiceAccount));
        return [.. written.Concat(pods).Concat(vms).Distinct().Order(StringComparer.Ordinal)];
    }

    /// <summary>Ports this node itself serves: of services that pick its labels.</summary>
    public IReadOnlyList<MeshPort> InboundPorts
    {
        get
        {
            IReadOnlyDictionary<string, string>? labels =
                (IReadOnlyDictionary<string, string>?)entries.FirstOrDefault(e => node.Addresses.Contains(e.Address))?.Labels
                ?? model.Workloads.FirstOrDefault(w => node.Addresses.Contains(w.Address))?.Labels;
            return labels is null ? [] : [.. model.Services.Where(s => s.Selects(labels)).SelectMany(s => s.Ports).DistinctBy(p => p.Target).OrderBy(p => p.Target)];
        }
    }

    /// <summary>The resource a piece of configuration comes from, as metadata names it.</summary>
    public string ConfigPath(MeshService service, string kind) =>
        $"/apis/networking.istio.io/{(IsOld ? "v1alpha3" : "v1")}/namespaces/{service.Namespace}/{kind}/{service.RuleName}";

    private string Spiffe(string ns, string account) => $"spiffe://{options.TrustDomain}/ns/{ns}/sa/{account}";
}
