using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace VmSidecar.Commands;

/// <summary>
/// JSON as <c>--json</c> prints it, for terminals, pipes and files: quotes, <c>&lt;</c>, <c>&amp;</c> and letters of any language stand as they are, which the
/// default escapes for web pages. Control characters, and those that turn the direction of text, stay escaped: none reaches a terminal. Pure.
/// </summary>
internal static class ConsoleJson
{
    private static readonly JsonSerializerOptions s_line = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
    private static readonly JsonSerializerOptions s_indented = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, WriteIndented = true };

    /// <summary>In one line, without its break.</summary>
    public static string Line(JsonNode node) => Harmless(node.ToJsonString(s_line));

    /// <summary>Over several lines, without a final break.</summary>
    public static string Indented(JsonNode node) => Harmless(node.ToJsonString(s_indented));

    /// <summary>The encoder lets characters of category Cf through; they can only stand inside strings.</summary>
    private static string Harmless(string json) => json.Any(IsFormat)
        ? string.Concat(json.Select(c => IsFormat(c) ? string.Create(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}") : $"{c}"))
        : json;

    private static bool IsFormat(char c) => char.GetUnicodeCategory(c) == UnicodeCategory.Format;
}
