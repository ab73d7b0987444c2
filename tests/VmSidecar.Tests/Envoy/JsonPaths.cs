using System.Text.Json.Nodes;

namespace VmSidecar.Tests.Envoy;

/// <summary>A JSON document as a sorted list of "path = value", entries of lists known by their name: two documents compare field by field.</summary>
internal static class JsonPaths
{
    public static SortedDictionary<string, string> Of(JsonNode? node)
    {
        var paths = new SortedDictionary<string, string>(StringComparer.Ordinal);
        Walk(node, "", paths);
        return paths;
    }

    /// <summary>What differs: "- path = value" only in <paramref name="expected"/>, "+ path = value" only in <paramref name="actual"/>.</summary>
    public static List<string> Differences(JsonNode? expected, JsonNode? actual)
    {
        SortedDictionary<string, string> left = Of(expected), right = Of(actual);
        return
        [
            .. left.Where(l => !right.TryGetValue(l.Key, out string? r) || r != l.Value).Select(l => $"- {l.Key} = {l.Value}"),
            .. right.Where(r => !left.TryGetValue(r.Key, out string? l) || l != r.Value).Select(r => $"+ {r.Key} = {r.Value}"),
        ];
    }

    private static void Walk(JsonNode? node, string path, SortedDictionary<string, string> into)
    {
        switch (node)
        {
            case JsonObject { Count: 0 }: into[path] = "{}"; break;
            case JsonObject members:
                foreach ((string key, JsonNode? value) in members) { Walk(value, $"{path}/{key}", into); }
                break;
            case JsonArray list:
                for (int i = 0; i < list.Count; i++) { Walk(list[i], $"{path}[{NameOf(list[i]) ?? $"{i}"}]", into); }
                break;
            default: into[path] = node?.ToJsonString() ?? "null"; break;
        }
    }

    private static string? NameOf(JsonNode? item) => item is JsonObject o ? (o["name"] ?? o["tag_name"])?.ToString() : null;
}
