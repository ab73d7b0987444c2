using System.Text.Json;
using System.Text.Json.Nodes;

using VmSidecar.Configuration;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>Encodes the node of the agent's own stream (envoy.config.core.v3.Node). Pure.</summary>
internal static class NodeMessage
{
    // What makes istiod create, adopt or mark a WorkloadEntry: registration follows the data plane, so the agent's own stream must not carry it.
    private static readonly string[] Registration = ["AUTO_REGISTER_GROUP", "WORKLOAD_ENTRY"];

    /// <summary>The node as Envoy would send it, without the metadata that registers the workload.</summary>
    public static byte[] WithoutRegistration(NodeOptions node)
    {
        var metadata = new ProtoWriter();
        foreach ((string name, JsonNode? value) in node.Metadata)
        {
            if (!Registration.Contains(name, StringComparer.Ordinal)) { Field(metadata, name, value); }
        }
        ProtoWriter locality = new ProtoWriter().String(1, node.Region).String(2, node.Zone).String(3, node.SubZone);
        ProtoWriter encoded = new ProtoWriter().String(1, node.Id).String(2, node.Cluster).Message(3, metadata);
        if (!locality.Written.IsEmpty) { encoded.Message(4, locality); }
        return encoded.String(6, "vmsidecar").ToArray();
    }

    // google.protobuf.Struct: fields = map<string, Value> at 1.
    private static void Field(ProtoWriter fields, string name, JsonNode? value) =>
        fields.Message(1, new ProtoWriter().String(1, name).Message(2, Value(value)));

    // google.protobuf.Value: null 1, number 2, string 3, bool 4, struct 5, list 6.
    private static ProtoWriter Value(JsonNode? node)
    {
        var value = new ProtoWriter();
        switch (node?.GetValueKind() ?? JsonValueKind.Null)
        {
            case JsonValueKind.Object:
                var fields = new ProtoWriter();
                foreach ((string name, JsonNode? inner) in node!.AsObject()) { Field(fields, name, inner); }
                return value.Message(5, fields);
            case JsonValueKind.Array:
                var items = new ProtoWriter();
                foreach (JsonNode? item in node!.AsArray()) { items.Message(1, Value(item)); }
                return value.Message(6, items);
            case JsonValueKind.Number:
                return value.Double(2, double.Parse(node!.ToJsonString(), System.Globalization.CultureInfo.InvariantCulture)); // a number may be held as any CLR type
            case JsonValueKind.True or JsonValueKind.False:
                return value.Varint(4, node!.GetValueKind() == JsonValueKind.True ? 1u : 0u);
            case JsonValueKind.String:
                return value.Bytes(3, System.Text.Encoding.UTF8.GetBytes(node!.GetValue<string>()));
            default:
                return value.Varint(1, 0);
        }
    }
}
