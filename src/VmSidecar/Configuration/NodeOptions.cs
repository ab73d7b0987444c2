using System.Collections.Immutable;
using System.Text.Json.Nodes;

namespace VmSidecar.Configuration;

/// <summary>The xDS node as it stands in Envoy's bootstrap and in the agent's own stream.</summary>
/// <param name="Id"><c>sidecar~IP~NAME.NS~DOMAIN</c>.</param>
/// <param name="Cluster">node.cluster.</param>
/// <param name="Region">Locality, empty where unknown.</param>
/// <param name="Zone">Locality, empty where unknown.</param>
/// <param name="SubZone">Locality, empty where unknown.</param>
/// <param name="Metadata">Whole node metadata, JSON object. Read only after start.</param>
/// <param name="Addresses">The node's IPs in order.</param>
internal sealed record NodeOptions(
    string Id, string Cluster, string Region, string Zone, string SubZone, JsonObject Metadata, ImmutableArray<string> Addresses)
{
    /// <summary>The same node with one more entry of metadata.</summary>
    public NodeOptions With(string key, string value)
    {
        var metadata = (JsonObject)Metadata.DeepClone();
        metadata[key] = value;
        return this with { Metadata = metadata };
    }
}
