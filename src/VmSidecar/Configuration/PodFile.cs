namespace VmSidecar.Configuration;

/// <summary>
/// A file of the Kubernetes downward API (<c>key="quoted value"</c> a line): annotations and labels of the workload. Normally absent on a VM; where
/// an operator puts one it counts as in a pod.
/// </summary>
internal sealed record PodFile(string Path, IReadOnlyDictionary<string, Setting> Values)
{
    /// <summary>Reads <paramref name="path"/>; an absent file has no values. Broken lines are warnings.</summary>
    public static PodFile Read(string path, ICollection<ConfigError> errors)
    {
        var values = new Dictionary<string, Setting>();
        string[] lines = EffectiveEnvironment.ReadText(path, errors, out _)?.Split('\n') ?? [];
        for (int i = 0; i < lines.Length; i++)
        {
            string line = lines[i].Trim();
            if (line.Length == 0) { continue; }
            int equals = line.IndexOf('=', StringComparison.Ordinal);
            if (equals > 0 && GoValue.TryUnquote(line[(equals + 1)..], out string value)) { values[line[..equals]] = new(value, new SettingOrigin(path, i + 1)); }
            else { errors.Add(new(path, i + 1, equals > 0 ? line[..equals] : "line", "is not key=\"value\"; it is ignored", "Quote the value with double quotes", IsWarning: true)); }
        }
        return new(path, values);
    }

    public string? this[string key] => Values.TryGetValue(key, out Setting found) ? found.Value : null;
}
