using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace VmSidecar.TestKit.Onboarding;

/// <summary>Writes YAML as Go's yaml package does: block style, keys in natural order (other signs before letters), quotes only where needed.</summary>
internal static class GoYaml
{
    public static string Write(JsonObject document)
    {
        var text = new StringBuilder();
        Mapping(document, 0, text);
        return text.ToString();
    }

    private static void Mapping(JsonObject mapping, int indent, StringBuilder text)
    {
        foreach ((string key, JsonNode? value) in mapping.OrderBy(m => m.Key, Comparer<string>.Create(Natural)))
        {
            text.Append(' ', indent).Append(key).Append(':');
            Value(value, indent, text);
        }
    }

    private static void Value(JsonNode? value, int indent, StringBuilder text)
    {
        switch (value)
        {
            case JsonObject { Count: 0 }: text.Append(" {}\n"); break;
            case JsonArray { Count: 0 }: text.Append(" []\n"); break;
            case JsonObject inner: text.Append('\n'); Mapping(inner, indent + 2, text); break;
            case JsonArray list:
                text.Append('\n');
                foreach (JsonNode? item in list)
                {
                    if (item is JsonObject or JsonArray) { throw new NotSupportedException("lists of messages do not occur in these files"); }
                    text.Append(' ', indent).Append('-');
                    Value(item, indent, text);
                }
                break;
            default: text.Append(' ').Append(Scalar(value)).Append('\n'); break;
        }
    }

    private static string Scalar(JsonNode? value)
    {
        if (value is null) { return "null"; }
        if (value is not JsonValue scalar || !scalar.TryGetValue(out string? text)) { return value.ToJsonString(); }
        if (text.Length == 0 || text is "true" or "false" or "null" or "yes" or "no" or "on" or "off" or "y" or "n" or "~" || double.TryParse(text, CultureInfo.InvariantCulture, out _))
        {
            return $"\"{text}\"";
        }
        bool plain = !"[]{}\"'*&!|>%@`#,?:- ".Contains(text[0]) && !text.Contains(": ", StringComparison.Ordinal) && !text.Contains(" #", StringComparison.Ordinal) && !text.EndsWith(':');
        return plain ? text : $"'{text.Replace("'", "''", StringComparison.Ordinal)}'";
    }

    private static int Natural(string a, string b)
    {
        for (int i = 0; i < Math.Min(a.Length, b.Length); i++)
        {
            if (a[i] == b[i]) { continue; }
            bool isLetter = char.IsLetter(a[i]), otherIsLetter = char.IsLetter(b[i]);
            return isLetter == otherIsLetter ? a[i] - b[i] : isLetter ? 1 : -1;
        }
        return a.Length - b.Length;
    }
}
