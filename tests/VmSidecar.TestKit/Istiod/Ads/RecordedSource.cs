using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Clusters;
using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.EnvoyApi.Endpoints;
using VmSidecar.EnvoyApi.Listeners;
using VmSidecar.EnvoyApi.Routes;

namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>Answers with what a real istiod sent: the recorded resources, byte for byte, by type and name; silence where it was silent.</summary>
internal sealed class RecordedSource : IResourceSource
{
    private readonly Dictionary<string, List<NamedResource>> _byType = new(StringComparer.Ordinal);

    private RecordedSource() { }

    /// <summary><paramref name="set"/>: istiod-1.10-sotw, istiod-1.31-sotw or istiod-1.31-delta.</summary>
    public static RecordedSource Load(string set)
    {
        var source = new RecordedSource();
        foreach (string file in Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "Recorded", set), "*.binpb").Order(StringComparer.Ordinal))
        {
            byte[] bytes = File.ReadAllBytes(file);
            IEnumerable<NamedResource> resources = set.EndsWith("delta", StringComparison.Ordinal)
                ? DeltaDiscoveryResponse.Parser.ParseFrom(bytes).Resources.Select(r => new NamedResource(r.Name, r.Resource_))
                : DiscoveryResponse.Parser.ParseFrom(bytes).Resources.Select(r => new NamedResource(NameOf(r), r));
            foreach (NamedResource resource in resources)
            {
                if (!source._byType.TryGetValue(resource.Resource.TypeUrl, out List<NamedResource>? list)) { source._byType[resource.Resource.TypeUrl] = list = []; }
                list.Add(resource);
            }
        }
        return source;
    }

    public IReadOnlyList<NamedResource>? Generate(ProxyNode node, string type, IReadOnlyCollection<string>? names)
    {
        if (!_byType.TryGetValue(type, out List<NamedResource>? all)) { return null; }
        return names is null ? all : [.. all.Where(r => names.Contains(r.Name))];
    }

    /// <summary>The name inside a resource; NDS has none.</summary>
    public static string NameOf(Any resource) => resource.TypeUrl switch
    {
        XdsTypes.Cluster => Cluster.Parser.ParseFrom(resource.Value).Name,
        XdsTypes.Endpoint => ClusterLoadAssignment.Parser.ParseFrom(resource.Value).ClusterName,
        XdsTypes.Listener => Listener.Parser.ParseFrom(resource.Value).Name,
        XdsTypes.Route => RouteConfiguration.Parser.ParseFrom(resource.Value).Name,
        _ => "",
    };
}
