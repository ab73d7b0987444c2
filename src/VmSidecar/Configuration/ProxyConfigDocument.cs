using System.Globalization;
using System.Text.Json.Nodes;

namespace VmSidecar.Configuration;

/// <summary>One layer of the proxy configuration: its fields by JSON name, and the line of each, by path.</summary>
/// <param name="Source">File, <c>PROXY_CONFIG</c> in an environment, an annotation.</param>
/// <param name="Fields">Fields given; a JSON null means "as below".</param>
/// <param name="Lines">Line by path (<c>discoveryAddress</c>, <c>proxyMetadata.X</c>, <c>readinessProbe.httpGet.port</c>).</param>
internal sealed record ProxyConfigLayer(string Source, JsonObject Fields, IReadOnlyDictionary<string, int> Lines);

/// <summary>
/// Turns a mesh file, <c>PROXY_CONFIG</c> or an annotation into a <see cref="ProxyConfigLayer"/>: names in camelCase or snake_case, scalars
/// coerced where the meaning is plain (a warning says so), unknown names a warning. Pure.
/// </summary>
internal sealed class ProxyConfigDocument(string source, int firstLine, ICollection<ConfigError> errors)
{
    private readonly Dictionary<string, int> _lines = [];

    /// <summary>A mesh file: MeshConfig with <c>defaultConfig</c>, or the fields of ProxyConfig themselves.</summary>
    public static ProxyConfigLayer? ReadMesh(string path, string text, ICollection<ConfigError> errors)
    {
        YamlTree? root = YamlTree.Parse(path, text, errors);
        if (root is null || root.IsNull) { return null; }
        var document = new ProxyConfigDocument(path, 1, errors);
        if (root.Kind != YamlKind.Mapping) { document.Report(root.Line, "file", "is not a mapping of fields", "Begin with 'defaultConfig:'"); return null; }
        YamlMember? wrapped = root.Members.FirstOrDefault(m => m.Key is "defaultConfig" or "default_config");
        if (wrapped is null) { return document.Layer(root, alsoMesh: true); }
        foreach (YamlMember member in root.Members.Where(m => m != wrapped && !IsMeshField(m.Key)))
        {
            document.Warn(member.Line, member.Key, "is not a field of the mesh configuration", "Correct the name, or remove it");
        }
        if (wrapped.Value.IsNull) { return null; }
        return document.Layer(wrapped.Value, alsoMesh: false);
    }

    /// <summary>A bare ProxyConfig (<c>PROXY_CONFIG</c>, annotation <c>proxy.istio.io/config</c>). <paramref name="firstLine"/> is where it begins in its file; 0 for none.</summary>
    public static ProxyConfigLayer? ReadBare(string source, int firstLine, string text, ICollection<ConfigError> errors)
    {
        var own = new List<ConfigError>();
        YamlTree? root = YamlTree.Parse(source, text, own);
        foreach (ConfigError error in own) { errors.Add(error with { Line = firstLine > 0 ? firstLine + Math.Max(0, error.Line - 1) : 0, Key = "PROXY_CONFIG" }); }
        return root is null || root.IsNull ? null : new ProxyConfigDocument(source, firstLine, errors).Layer(root, alsoMesh: false);
    }

    private static bool IsMeshField(string key) =>
        ProxyConfigSchema.MeshConfig.Contains(key) || ProxyConfigSchema.MeshConfig.Any(name => new ProxyField(name, FieldKind.Any).SnakeName == key);

    private ProxyConfigLayer? Layer(YamlTree tree, bool alsoMesh)
    {
        if (tree.Kind != YamlKind.Mapping) { Report(tree.Line, "defaultConfig", "is not a mapping of fields", "Indent the fields below it"); return null; }
        JsonObject fields = Message(tree, ProxyConfigSchema.ProxyConfig, "", alsoMesh);
        return new(source, fields, _lines);
    }

    private JsonObject Message(YamlTree tree, IReadOnlyList<ProxyField> schema, string prefix, bool alsoMesh = false)
    {
        var result = new JsonObject();
        foreach (YamlMember member in tree.Members)
        {
            ProxyField? field = schema.FirstOrDefault(f => f.Name == member.Key || f.SnakeName == member.Key);
            string path = prefix + (field?.Name ?? member.Key);
            if (field is null)
            {
                if (!(alsoMesh && IsMeshField(member.Key))) { Warn(member.Line, path, "is not a field of the proxy configuration; it is ignored", "Correct the name, or remove it"); }
                continue;
            }
            _lines[path] = At(member.Line);
            if (member.Value.IsNull) { result[field.Name] = null; continue; }
            if (Value(member.Value, field, path) is { } value) { result[field.Name] = value; }
        }
        return result;
    }

    private JsonNode? Value(YamlTree tree, ProxyField field, string path) => field.Kind switch
    {
        FieldKind.Any => ProxyConfigScalar.ToJson(tree),
        FieldKind.Message when Expect(tree, YamlKind.Mapping, path, "a mapping") => Message(tree, field.Members, path + "."),
        FieldKind.TextMap when Expect(tree, YamlKind.Mapping, path, "a mapping of names to texts") => TextMap(tree, path),
        FieldKind.TextList when Expect(tree, YamlKind.List, path, "a list of texts") =>
            new JsonArray([.. tree.Items.Select((item, i) => (JsonNode?)TextOf(item, $"{path}[{i}]")).OfType<JsonNode>()]),
        FieldKind.MessageList when Expect(tree, YamlKind.List, path, "a list") => MessageList(tree, field, path),
        FieldKind.Message or FieldKind.TextMap or FieldKind.TextList or FieldKind.MessageList => null,
        _ when Expect(tree, YamlKind.Scalar, path, "one value") => Scalar(tree, field, path),
        _ => null,
    };

    private JsonArray MessageList(YamlTree tree, ProxyField field, string path)
    {
        var list = new JsonArray();
        for (int i = 0; i < tree.Items.Count; i++)
        {
            if (Expect(tree.Items[i], YamlKind.Mapping, $"{path}[{i}]", "a mapping")) { list.Add((JsonNode)Message(tree.Items[i], field.Members, $"{path}[{i}].")); }
        }
        return list;
    }

    private JsonObject TextMap(YamlTree tree, string path)
    {
        var map = new JsonObject();
        foreach (YamlMember member in tree.Members)
        {
            _lines[$"{path}.{member.Key}"] = At(member.Line);
            map[member.Key] = member.Value.IsNull ? JsonValue.Create("") : TextOf(member.Value, $"{path}.{member.Key}");
        }
        return map;
    }

    /// <summary>Text wanted: an unquoted number or boolean is taken as written, with a warning, because the classic agent refuses it.</summary>
    private JsonValue? TextOf(YamlTree tree, string path)
    {
        if (!Expect(tree, YamlKind.Scalar, path, "a text")) { return null; }
        if (!tree.IsQuoted && ProxyConfigScalar.LooksTyped(tree.Text))
        {
            Warn(tree.Line, path, $"{tree.Text} is a number or a boolean where text is wanted; it is taken as \"{tree.Text}\"", $"Put it in quotes: \"{tree.Text}\"");
        }
        return JsonValue.Create(tree.Text);
    }

    private JsonNode? Scalar(YamlTree tree, ProxyField field, string path)
    {
        switch (field.Kind)
        {
            case FieldKind.Text: return TextOf(tree, path);
            case FieldKind.Integer when int.TryParse(tree.Text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int whole): return whole;
            case FieldKind.Integer: return Wrong(tree, path, "a whole number", "Write digits only");
            case FieldKind.Real when double.TryParse(tree.Text, NumberStyles.Float, CultureInfo.InvariantCulture, out double real) && double.IsFinite(real): return real;
            case FieldKind.Real: return Wrong(tree, path, "a number", "Write a number such as 1.5");
            case FieldKind.Boolean when GoValue.TryBool(tree.Text, out bool flag) || GoValue.TryLenientBool(tree.Text, out flag): return flag;
            case FieldKind.Boolean: return Wrong(tree, path, "a boolean", "Use true or false");
            case FieldKind.Duration when GoValue.TryDuration(tree.Text, out TimeSpan time): return GoValue.ToProtoDuration(time);
            case FieldKind.Duration: return Wrong(tree, path, "a duration", "Use seconds with an s, such as 45s");
            default: return Choice(tree, field, path);
        }
    }

    private JsonValue? Choice(YamlTree tree, ProxyField field, string path)
    {
        int index = int.TryParse(tree.Text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : field.Choices.IndexOf(tree.Text);
        if (index < 0 || index >= field.Choices.Length) { Wrong(tree, path, $"one of {string.Join(", ", field.Choices)}", $"Use one of {string.Join(", ", field.Choices)}"); return null; }
        return JsonValue.Create(field.Choices[index]);
    }

    private JsonNode? Wrong(YamlTree tree, string path, string wanted, string fix) { Report(tree.Line, path, $"'{tree.Text}' is not {wanted}", fix); return null; }

    private bool Expect(YamlTree tree, YamlKind kind, string path, string wanted)
    {
        if (tree.Kind == kind) { return true; }
        Report(tree.Line, path, $"is not {wanted}", $"Write {wanted}");
        return false;
    }

    private int At(int line) => firstLine > 0 ? firstLine + line - 1 : 0;

    private void Report(int line, string key, string problem, string fix) => errors.Add(new(source, At(line), key, problem, fix));

    private void Warn(int line, string key, string problem, string fix) => errors.Add(new(source, At(line), key, problem, fix, IsWarning: true));
}
