using System.Collections.Immutable;

namespace VmSidecar.Configuration;

/// <summary>
/// The variables that apply, each with its origin: <c>cluster.env</c> over <c>sidecar.env</c> over the inherited environment over the mesh file's
/// <c>proxyMetadata</c>. This is what the classic start script's sourcing comes to. Every setting of every part is read from here.
/// </summary>
internal sealed class EffectiveEnvironment
{
    private const int MaxFile = 1 << 20; // bytes; istioctl's files have one or two thousand
    private readonly Dictionary<string, Setting> _settings;
    private readonly ImmutableArray<KeyValuePair<string, string>> _assigned;

    private EffectiveEnvironment(Dictionary<string, Setting> settings, ImmutableArray<KeyValuePair<string, string>> assigned) => (_settings, _assigned) = (settings, assigned);

    /// <summary>Variables the files assign: what the start script would have exported besides the inherited environment.</summary>
    public ImmutableArray<KeyValuePair<string, string>> Assigned => _assigned;

    /// <summary>All variables as a plain dictionary, e.g. for the capture rules.</summary>
    public IReadOnlyDictionary<string, string> ToDictionary() => _settings.ToDictionary(s => s.Key, s => s.Value.Value);

    /// <summary>All names, in order.</summary>
    public IEnumerable<KeyValuePair<string, Setting>> All => _settings.OrderBy(s => s.Key, StringComparer.Ordinal);

    public bool TryGet(string name, out Setting setting) => _settings.TryGetValue(name, out setting);

    /// <summary>The value, or null when unset.</summary>
    public string? this[string name] => _settings.TryGetValue(name, out Setting found) ? found.Value : null;

    /// <summary>Null when unset or empty: the <c>${X:-...}</c> rule of the start script.</summary>
    public string? NonEmpty(string name) => this[name] is { Length: > 0 } value ? value : null;

    /// <summary>Reads both files over <paramref name="inherited"/>.</summary>
    public static EffectiveEnvironment Load(HostPaths paths, IReadOnlyDictionary<string, string> inherited, ICollection<ConfigError> errors)
    {
        Dictionary<string, Setting> settings = inherited.ToDictionary(v => v.Key, v => new Setting(v.Value, SettingOrigin.Environment));
        string sidecar = inherited.GetValueOrDefault("ISTIO_SIDECAR_CONFIG") is { Length: > 0 } otherSidecar ? paths.At(otherSidecar) : paths.SidecarEnv;
        string cluster = inherited.GetValueOrDefault("ISTIO_CLUSTER_CONFIG") is { Length: > 0 } otherCluster ? paths.At(otherCluster) : paths.ClusterEnv;
        ApplyFile(sidecar, settings, errors);
        if (!ApplyFile(cluster, settings, errors))
        {
            errors.Add(new(cluster, 0, "file", "does not exist", "Copy cluster.env from istioctl's output there", IsWarning: true));
        }
        return new(settings, [.. settings.Where(s => s.Value.Origin.Line > 0).Select(s => KeyValuePair.Create(s.Key, s.Value.Value))]);
    }

    /// <summary>Adds the mesh file's proxyMetadata below everything else, so that the mesh file alone suffices.</summary>
    public EffectiveEnvironment Above(IEnumerable<KeyValuePair<string, Setting>> proxyMetadata)
    {
        var merged = new Dictionary<string, Setting>(proxyMetadata);
        foreach ((string name, Setting setting) in _settings) { merged[name] = setting; }
        return new(merged, _assigned);
    }

    /// <summary>A file's text; null: it does not exist, or cannot be read (then there is an error).</summary>
    public static string? ReadText(string path, ICollection<ConfigError> errors, out bool exists)
    {
        exists = true;
        try
        {
            var file = new FileInfo(path);
            if (file.Exists && file.Length > MaxFile) { errors.Add(new(path, 0, "file", "is larger than 1 MiB", "Copy the file again from istioctl's output")); return null; }
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            exists = Directory.Exists(path);
            if (exists) { errors.Add(new(path, 0, "file", "is a folder", "Put the file in its place")); }
        }
        catch (UnauthorizedAccessException)
        {
            errors.Add(Directory.Exists(path) ? new(path, 0, "file", "is a folder", "Put the file in its place") : Unreadable(path));
        }
        catch (IOException e)
        {
            errors.Add(new(path, 0, "file", $"cannot be read: {e.Message.TrimEnd('.')}", "Check the disk and the path"));
        }
        return null;
    }

    private static ConfigError Unreadable(string path) =>
        new(path, 0, "file", $"user {Environment.UserName} may not read it", $"Run: chown istio-proxy {path} && chmod u+r {path}, and see that the folders above it have o+x");

    private static bool ApplyFile(string path, Dictionary<string, Setting> settings, ICollection<ConfigError> errors)
    {
        string? text = ReadText(path, errors, out bool exists);
        if (text is null) { return exists; }
        bool hasCarriageReturns = text.Contains('\r', StringComparison.Ordinal);
        Dictionary<string, string> known = settings.ToDictionary(s => s.Key, s => s.Value.Value);
        foreach (EnvAssignment assignment in BashEnvFile.Parse(path, text, known, errors))
        {
            if (assignment.IsUnset) { settings.Remove(assignment.Key); continue; }
            string value = hasCarriageReturns ? assignment.Value.TrimEnd('\r') : assignment.Value; // reported already; not once more per setting
            settings[assignment.Key] = new(value, new SettingOrigin(path, assignment.Line));
        }
        return true;
    }
}
