using System.Collections.Immutable;

using VmSidecar.EnvoyApi.Mesh;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Registration;

namespace VmSidecar.TestKit.Istiod.Mesh;

/// <summary>Answers built from a <see cref="MeshModel"/> and the registered VMs, in the shape of the recorded ones. Thread-safe: each answer is made from one snapshot.</summary>
internal sealed class MeshSource(IstiodOptions options, WorkloadRegistry registry, Func<string> roots) : IResourceSource
{
    private volatile MeshModel _model = new();

    public MeshModel Model { get => _model; set => _model = value; }

    public IReadOnlyList<NamedResource>? Generate(ProxyNode node, string type, IReadOnlyCollection<string>? names)
    {
        var view = new MeshView(_model, options, registry.Entries, registry.Groups, node);
        return type switch
        {
            XdsTypes.Cluster => [.. ClusterBuilder.All(view).Select(c => Shapes.Named(c.Name, c))],
            XdsTypes.Endpoint => [.. (names ?? []).Select(n => Shapes.Named(n, EndpointBuilder.For(view, n)))],
            XdsTypes.Listener => [.. ListenerBuilder.All(view).Select(l => Shapes.Named(l.Name, l))],
            XdsTypes.Route => [.. (names ?? []).Select(n => Shapes.Named(n, RouteBuilder.For(view, n)))],
            XdsTypes.NameTable => [Shapes.Named("", NameTableBuilder.For(view))],
            XdsTypes.ProxyConfig when options.MultiRoot => [Shapes.Named("", new ProxyConfig { CaCertificatesPem = { Roots() } })],
            _ => null, // PCDS without multi-root, and what nobody generates: silence
        };
    }

    private ImmutableArray<string> Roots()
    {
        const string End = "-----END CERTIFICATE-----\n";
        return [.. roots().Split(End, StringSplitOptions.RemoveEmptyEntries).Select(p => p + End)];
    }
}
