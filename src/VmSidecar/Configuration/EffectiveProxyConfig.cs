using System.Text.Json.Nodes;

namespace VmSidecar.Configuration;

/// <summary>The proxy configuration after all layers, and where each field comes from. Made by <see cref="Merge"/>.</summary>
internal sealed class EffectiveProxyConfig
{
    private readonly Dictionary<string, SettingOrigin> _origins = [];

    /// <summary>Fields by JSON name, defaults included.</summary>
    public JsonObject Value { get; } = new()
    {
        ["configPath"] = "./etc/istio/proxy",
        ["binaryPath"] = "/usr/local/bin/envoy",
        ["serviceCluster"] = "istio-proxy",
        ["drainDuration"] = "45s",
        ["discoveryAddress"] = "istiod.istio-system.svc:15012",
        ["proxyAdminPort"] = 15000,
        ["controlPlaneAuthPolicy"] = "MUTUAL_TLS",
        ["statNameLength"] = 189,
        ["statusPort"] = 15020,
        ["terminationDrainDuration"] = "5s",
    };

    /// <summary>Where the field, given by path, was set; for one that was not, where the message it belongs to was.</summary>
    public SettingOrigin OriginOf(string field)
    {
        for (int end = field.Length; end > 0; end = field.AsSpan(0, end).LastIndexOf('.'))
        {
            if (_origins.TryGetValue(field[..end], out SettingOrigin origin)) { return origin; }
        }
        return SettingOrigin.Default;
    }

    /// <summary>
    /// Lays <paramref name="layers"/> over the defaults, lowest first: scalars, lists and messages replace; proxyMetadata merges by key and proxyHeaders
    /// keeps what is not given; null leaves what is below.
    /// </summary>
    public static EffectiveProxyConfig Merge(IEnumerable<ProxyConfigLayer> layers)
    {
        var merged = new EffectiveProxyConfig();
        foreach (ProxyConfigLayer layer in layers)
        {
            foreach ((string name, JsonNode? value) in layer.Fields)
            {
                if (value is not null) { merged.Set(name, value.DeepClone(), layer); }
            }
        }
        return merged;
    }

    /// <summary>Overrides one field.</summary>
    public void Set(string name, JsonNode value, SettingOrigin origin)
    {
        Value[name] = value;
        _origins[name] = origin;
    }

    private void Set(string name, JsonNode value, ProxyConfigLayer layer)
    {
        _origins[name] = new(layer.Source, layer.Lines.GetValueOrDefault(name));
        if (name is "proxyMetadata" or "proxyHeaders" && Value[name] is JsonObject below && value is JsonObject above)
        {
            foreach ((string key, JsonNode? member) in above) { if (member is not null) { below[key] = member.DeepClone(); } }
        }
        else { Value[name] = value; }
        foreach ((string path, int line) in layer.Lines.Where(l => l.Key.StartsWith(name + ".", StringComparison.Ordinal))) { _origins[path] = new(layer.Source, line); }
    }

    /// <summary>proxyMetadata as settings, for the lowest layer of the environment.</summary>
    public IEnumerable<KeyValuePair<string, Setting>> ProxyMetadata() =>
        Value["proxyMetadata"] is JsonObject map
            ? map.Select(m => KeyValuePair.Create(m.Key, new Setting(m.Value?.ToString() ?? "", OriginOf($"proxyMetadata.{m.Key}"))))
            : [];
}
