using System.Globalization;
using System.Text.Json.Nodes;

namespace VmSidecar.Configuration;

/// <summary>What an unquoted YAML scalar means where no field says which type it has (YAML 1.2 core schema). Used by <see cref="ProxyConfigDocument"/>.</summary>
internal static class ProxyConfigScalar
{
    /// <summary>True for unquoted text that YAML takes for a boolean or a number.</summary>
    public static bool LooksTyped(string text) =>
        text is "true" or "false" or "True" or "False" or "TRUE" or "FALSE"
        || (text.Length > 0 && (char.IsAsciiDigit(text[0]) || text[0] is '-' or '+' or '.') && double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out _));

    /// <summary>Any tree as JSON.</summary>
    public static JsonNode? ToJson(YamlTree tree) => tree.Kind switch
    {
        YamlKind.List => new JsonArray([.. tree.Items.Select(ToJson)]),
        YamlKind.Mapping => new JsonObject(tree.Members.Select(m => KeyValuePair.Create(m.Key, ToJson(m.Value)))),
        _ when tree.IsNull => null,
        _ when tree.IsQuoted || !LooksTyped(tree.Text) => JsonValue.Create(tree.Text),
        _ when GoValue.TryBool(tree.Text, out bool flag) && char.IsAsciiLetter(tree.Text[0]) => JsonValue.Create(flag),
        _ when long.TryParse(tree.Text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long whole) => JsonValue.Create(whole),
        _ when double.TryParse(tree.Text, NumberStyles.Float, CultureInfo.InvariantCulture, out double real) && double.IsFinite(real) => JsonValue.Create(real),
        _ => JsonValue.Create(tree.Text),
    };
}
