namespace VmSidecar.Configuration;

/// <summary>Warns of settings the classic agent has and this one does not act on, so that nobody counts on them.</summary>
internal static class UnsupportedSettings
{
    private const string Template = "bootstrap templates are not run", TemplateFix = "Use ISTIO_BOOTSTRAP_OVERRIDE for additions, or customConfigFile for a whole file";

    private static readonly (string Name, string Problem, string Fix)[] s_variables =
    [
        ("ISTIO_BOOTSTRAP", Template, TemplateFix),
        ("ISTIO_KUBE_APP_PROBERS", "rewritten pod probes do not occur on a VM", "Remove the line; give the workload's probe as readinessProbe"),
        ("ENVOY_SECURE_METRICS_PORT", "there is no mutual-TLS metrics listener", "Scrape 15090, or 15020 through the mesh"),
        ("ENVOY_SECURE_MERGED_METRICS_PORT", "there is no mutual-TLS metrics listener", "Scrape 15020 through the mesh"),
        ("ISTIO_META_ENABLE_SELF_DISCOVERY", "Envoy's bootstrap has no local_cluster", "Remove the line"),
        ("PEER_METADATA_DISCOVERY", "it needs an extension that only Istio's own Envoy has", "Remove the line"),
        ("XDS_AUTH_PROVIDER", "the token is not exchanged with a cloud provider", "Remove the line"),
        ("GKE_CLUSTER_URL", "the token is not exchanged with a cloud provider", "Remove the line"),
        ("CLOUD_PLATFORM", "the cloud's metadata is not asked for; region and zone come from labels", "Give the locality in the label topology.istio.io/locality"),
        ("GCP_METADATA", "the cloud's metadata is not asked for; region and zone come from labels", "Give the locality in the label topology.istio.io/locality"),
    ];

    private static readonly (string Name, string Problem, string Fix)[] s_flags =
    [
        ("templateFile", Template, TemplateFix),
        ("stsPort", "there is no token exchange server", "Remove the flag"),
        ("tokenManagerPlugin", "there is no token exchange server", "Remove the flag"),
        ("log_rotate", "logrotate turns the log over", "Configure /etc/logrotate.d instead"),
    ];

    public static void Report(SettingReader settings)
    {
        foreach ((string name, string problem, string fix) in s_variables)
        {
            if (settings.Environment.NonEmpty(name) is { } value && IsOn(value) && settings.Environment.TryGet(name, out Setting setting)) { settings.Warn(name, setting.Origin, problem, fix); }
        }
        foreach ((string name, string problem, string fix) in s_flags)
        {
            if (settings.Flags.Values.TryGetValue(name, out Setting setting) && IsOn(setting.Value)) { settings.Warn($"--{name}", setting.Origin, problem, fix); }
        }
        if (settings.Proxy.Value["proxyBootstrapTemplatePath"]?.ToString() is { Length: > 0 })
        {
            settings.Warn("proxyBootstrapTemplatePath", settings.Proxy.OriginOf("proxyBootstrapTemplatePath"), Template, TemplateFix);
        }
    }

    /// <summary>Off, zero and none say what happens anyway.</summary>
    private static bool IsOn(string value) => value is not ("" or "0" or "none") && !(GoValue.TryBool(value, out bool on) && !on);
}
