using System.Text.Json;
using System.Text.Json.Nodes;

namespace VmSidecar.MiniEnvoy.Startup;

/// <summary><c>--config-yaml</c> over the file, as protobuf merges: messages merge, repeated fields append, other values replace. JSON only.</summary>
internal static class BootstrapOverride
{
    public static string Merge(string file, string over)
    {
        try
        {
            JsonNode? merged = Merge(JsonNode.Parse(file), JsonNode.Parse(over));
            return merged?.ToJsonString() ?? "{}";
        }
        catch (JsonException e) { throw new BootstrapException($"Unable to parse JSON as proto (INVALID_ARGUMENT: {e.Message})"); }
    }

    private static JsonNode? Merge(JsonNode? left, JsonNode? right)
    {
        if (left is JsonObject into && right is JsonObject from)
        {
            foreach ((string name, JsonNode? value) in from) { into[name] = Merge(into[name]?.DeepClone(), value?.DeepClone()); }
            return into;
        }
        if (left is JsonArray first && right is JsonArray more)
        {
            foreach (JsonNode? item in more) { first.Add(item?.DeepClone()); }
            return first;
        }
        return right ?? left;
    }
}
