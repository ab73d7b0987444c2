using System.Text.Json.Nodes;

namespace VmSidecar.Configuration;

/// <summary>
/// Gathers the layers of the proxy configuration, lowest first: mesh file, what the classic start script adds, <c>PROXY_CONFIG</c>,
/// <c>PILOT_ADDRESS</c>, annotations, flags.
/// </summary>
internal static class ProxyConfigSources
{
    private const string ConfigAnnotation = "proxy.istio.io/config";

    public static EffectiveProxyConfig Read(
        HostPaths paths, EffectiveEnvironment environment, CommandLineFlags flags, PodFile annotations, ICollection<ConfigError> errors)
    {
        var layers = new List<ProxyConfigLayer?>();
        string mesh = flags["meshConfig"] is { Length: > 0 } other ? paths.At(other) : paths.Mesh;
        string? text = EffectiveEnvironment.ReadText(mesh, errors, out bool exists);
        if (!exists) { errors.Add(new(mesh, 0, "file", "does not exist; built-in defaults apply", "Copy mesh.yaml from istioctl's output there", IsWarning: true)); }
        if (text is not null) { layers.Add(ProxyConfigDocument.ReadMesh(mesh, text, errors)); }
        bool hasProxyConfig = environment.TryGet("PROXY_CONFIG", out Setting proxyConfig) && proxyConfig.Value.Length > 0;
        if (!hasProxyConfig) { layers.Add(ScriptLayer(environment, layers)); }
        else { layers.Add(ProxyConfigDocument.ReadBare(proxyConfig.Origin.Source, proxyConfig.Origin.Line, proxyConfig.Value, errors)); }
        layers.Add(AddressLayer(environment));
        if (annotations.Values.TryGetValue(ConfigAnnotation, out Setting annotation))
        {
            layers.Add(ProxyConfigDocument.ReadBare(annotation.Origin.Source, 0, annotation.Value, errors));
        }
        EffectiveProxyConfig merged = EffectiveProxyConfig.Merge(layers.OfType<ProxyConfigLayer>());
        ApplyFlags(merged, flags);
        ApplyAnnotations(merged, annotations);
        return merged;
    }

    /// <summary>What the start script puts into an empty PROXY_CONFIG. Its discoveryAddress is left out, so that the mesh file's takes effect.</summary>
    private static ProxyConfigLayer ScriptLayer(EffectiveEnvironment environment, List<ProxyConfigLayer?> below)
    {
        var fields = new JsonObject();
        if (environment.NonEmpty("ISTIO_SERVICE") is { } service) { fields["serviceCluster"] = service; }
        if (environment.NonEmpty("ISTIO_CP_AUTH") is { } policy) { fields["controlPlaneAuthPolicy"] = policy; }
        bool meshHasAddress = below.Any(layer => layer?.Fields["discoveryAddress"] is not null);
        if (!meshHasAddress && environment.NonEmpty("ISTIO_SYSTEM_NAMESPACE") is { } ns) { fields["discoveryAddress"] = $"istiod.{ns}.svc:15012"; }
        return From(environment, fields, ("serviceCluster", "ISTIO_SERVICE"), ("controlPlaneAuthPolicy", "ISTIO_CP_AUTH"), ("discoveryAddress", "ISTIO_SYSTEM_NAMESPACE"));
    }

    /// <summary>PILOT_ADDRESS, else ISTIO_PILOT_PORT: an address of istiod given on purpose beats the files.</summary>
    private static ProxyConfigLayer AddressLayer(EffectiveEnvironment environment)
    {
        var fields = new JsonObject();
        if (environment.NonEmpty("PILOT_ADDRESS") is { } address) { fields["discoveryAddress"] = address; }
        else if (environment.NonEmpty("ISTIO_PILOT_PORT") is { } port)
        {
            fields["discoveryAddress"] = $"istiod.{environment.NonEmpty("ISTIO_SYSTEM_NAMESPACE") ?? "istio-system"}.svc:{port}";
        }
        return From(environment, fields, ("discoveryAddress", environment.NonEmpty("PILOT_ADDRESS") is null ? "ISTIO_PILOT_PORT" : "PILOT_ADDRESS"));
    }

    private static ProxyConfigLayer From(EffectiveEnvironment environment, JsonObject fields, params ReadOnlySpan<(string Field, string Variable)> sources)
    {
        string source = SettingOrigin.Environment.Source;
        var lines = new Dictionary<string, int>();
        foreach ((string field, string variable) in sources)
        {
            if (!fields.ContainsKey(field) || !environment.TryGet(variable, out Setting setting)) { continue; }
            source = setting.Origin.Source;
            lines[field] = setting.Origin.Line;
        }
        return new(source, fields, lines);
    }

    private static void ApplyFlags(EffectiveProxyConfig merged, CommandLineFlags flags)
    {
        if (flags.Values.TryGetValue("serviceCluster", out Setting cluster) && cluster.Value.Length > 0) { merged.Set("serviceCluster", cluster.Value, cluster.Origin); }
        if (flags.Values.TryGetValue("concurrency", out Setting concurrency) && int.TryParse(concurrency.Value, out int threads) && threads != 0)
        {
            merged.Set("concurrency", threads, concurrency.Origin);
        }
    }

    private static void ApplyAnnotations(EffectiveProxyConfig merged, PodFile annotations)
    {
        if (annotations.Values.TryGetValue("sidecar.istio.io/discoveryAddress", out Setting address)) { merged.Set("discoveryAddress", address.Value, address.Origin); }
        if (annotations.Values.TryGetValue("status.sidecar.istio.io/port", out Setting port)) { merged.Set("statusPort", port.Value, port.Origin); }
    }
}
