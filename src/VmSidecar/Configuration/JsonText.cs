using System.Text.Json;
using System.Text.Json.Nodes;

namespace VmSidecar.Configuration;

/// <summary>JSON from the operator, read whole at once: a member given twice counts once, the last one, as in the classic agent. Never throws.</summary>
internal static class JsonText
{
    private const int MaxDepth = 32; // labels and ports nest two or three deep

    /// <summary>Null when <paramref name="text"/> is not JSON.</summary>
    public static JsonNode? Parse(string text)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = MaxDepth });
            return Node(document.RootElement);
        }
        catch (JsonException) { return null; }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException) { return null; } // half a surrogate pair, plain or escaped
    }

    private static JsonNode? Node(JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                var members = new JsonObject();
                foreach (JsonProperty member in element.EnumerateObject()) { members[member.Name] = Node(member.Value); }
                return members;
            case JsonValueKind.Array: return new JsonArray([.. element.EnumerateArray().Select(Node)]);
            case JsonValueKind.String: return JsonValue.Create(element.GetString());
            case JsonValueKind.Null or JsonValueKind.Undefined: return null;
            default: return JsonValue.Create(element.Clone());
        }
    }
}
