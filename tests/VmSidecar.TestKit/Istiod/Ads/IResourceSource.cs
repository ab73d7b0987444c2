using Google.Protobuf.WellKnownTypes;

namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>One resource of an answer. NDS has an empty name.</summary>
internal readonly record struct NamedResource(string Name, Any Resource);

/// <summary>Where answers come from: recorded, built from a mesh, or set by a test.</summary>
internal interface IResourceSource
{
    /// <summary>
    /// The resources of one type for one node. <paramref name="names"/> null: all of a wildcard type; else exactly these.
    /// Null: this generator says nothing, so istiod stays silent.
    /// </summary>
    IReadOnlyList<NamedResource>? Generate(ProxyNode node, string type, IReadOnlyCollection<string>? names);
}
