using System.Text.Json.Nodes;

namespace VmSidecar.Configuration;

/// <summary>The proxy configuration as canonical protobuf JSON: zero values left out (wrapper types and messages excepted). This is what istiod decodes.</summary>
internal static class CanonicalProxyConfig
{
    public static JsonObject Of(JsonObject config) => Message(config, ProxyConfigSchema.ProxyConfig);

    private static JsonObject Message(JsonObject message, IReadOnlyList<ProxyField> schema)
    {
        var result = new JsonObject();
        foreach (ProxyField field in schema.OrderBy(f => f.Name, StringComparer.Ordinal))
        {
            if (message[field.Name] is { } value && !IsZero(field, value)) { result[field.Name] = Value(field, value); }
        }
        return result;
    }

    private static JsonNode Value(ProxyField field, JsonNode value) => field.Kind switch
    {
        FieldKind.Message when value is JsonObject message => Message(message, field.Members),
        FieldKind.MessageList when value is JsonArray list => new JsonArray([.. list.OfType<JsonObject>().Select(m => (JsonNode)Message(m, field.Members))]),
        _ => value.DeepClone(),
    };

    private static bool IsZero(ProxyField field, JsonNode value) => !field.IsWrapper && field.Kind switch
    {
        FieldKind.Text => value.ToString().Length == 0,
        FieldKind.Integer or FieldKind.Real => value.ToString() is "0" or "-0",
        FieldKind.Boolean => value.ToString() == "false",
        FieldKind.Choice => value.ToString() == field.Choices[0],
        FieldKind.TextList or FieldKind.MessageList => value is JsonArray { Count: 0 },
        FieldKind.TextMap => value is JsonObject { Count: 0 },
        _ => false,
    };
}
