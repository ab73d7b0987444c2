using System.Collections.Immutable;
using System.Net;

using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Core;

namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>What istiod reads from the first request's node. Immutable.</summary>
internal sealed record ProxyNode
{
    private static readonly string[] Kinds = ["sidecar", "router"];

    public required string Id { get; init; }

    /// <summary>Third part of the id, <c>name.namespace</c>: how syncz shows the proxy.</summary>
    public required string Name { get; init; }

    public required ImmutableArray<string> Addresses { get; init; }
    public required Struct Metadata { get; init; }
    public Locality? Locality { get; init; }

    /// <summary>Names of the extensions Envoy listed.</summary>
    public ImmutableArray<string> Extensions { get; init; } = [];

    public string Namespace => Text("NAMESPACE");
    public string ServiceAccount => Text("SERVICE_ACCOUNT");
    public string Group => Text("AUTO_REGISTER_GROUP");
    public string Network => Text("NETWORK");
    public string ClusterId => Text("CLUSTER_ID");
    public bool CapturesDns => Text("DNS_CAPTURE") == "true";
    public bool AllocatesAddresses => Text("DNS_AUTO_ALLOCATE") == "true";

    /// <summary>The node's readiness probe travels in its PROXY_CONFIG: istiod then expects health reports.</summary>
    public bool HasProbe => Metadata.Fields.TryGetValue("PROXY_CONFIG", out Value? config) && config.StructValue is { } all && all.Fields.ContainsKey("readinessProbe");

    public IReadOnlyDictionary<string, string> Labels =>
        Metadata.Fields.TryGetValue("LABELS", out Value? labels) && labels.StructValue is { } all
            ? all.Fields.Where(f => f.Value.HasStringValue).ToDictionary(f => f.Key, f => f.Value.StringValue)
            : [];

    /// <summary>Reads a node as istiod does: four parts, a known kind, an address in metadata or id. Null and istiod's text otherwise.</summary>
    public static ProxyNode? Read(Node node, out string refusal)
    {
        string[] parts = node.Id.Split('~');
        refusal = parts.Length != 4 ? $"missing parts in the service node \"{node.Id}\""
            : !Kinds.Contains(parts[0]) ? $"invalid node type (valid types: sidecar, router in the service node \"{node.Id}\""
            : "";
        if (refusal.Length > 0) { return null; }
        Struct metadata = node.Metadata ?? new Struct();
        ImmutableArray<string> addresses = [.. (metadata.Fields.TryGetValue("INSTANCE_IPS", out Value? list) ? list.StringValue : "")
            .Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Where(a => IPAddress.TryParse(a, out _))];
        if (addresses.IsEmpty && IPAddress.TryParse(parts[1], out _)) { addresses = [parts[1]]; }
        if (addresses.IsEmpty)
        {
            refusal = "no valid IP address in the service node or metadata";
            return null;
        }
        return new ProxyNode
        {
            Id = node.Id, Name = parts[2], Addresses = addresses, Metadata = metadata, Locality = node.Locality,
            Extensions = [.. node.Extensions.Select(e => e.Name)],
        };
    }

    private string Text(string key) => Metadata.Fields.TryGetValue(key, out Value? value) && value.HasStringValue ? value.StringValue : "";
}
