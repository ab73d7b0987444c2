using System.Collections.Frozen;
using System.Text.Json.Nodes;

namespace VmSidecar.Configuration;

/// <summary>Builds the node metadata that istiod reads: variables <c>ISTIO_META_*</c>, objects <c>ISTIO_METAJSON_*</c>, then what the agent itself knows.</summary>
internal sealed class NodeMetadata(SettingReader settings, NodeIdentity identity, PodFile podLabels, PodFile annotations)
{
    /// <summary>Behaviour announced to istiod, which chooses features by it. Not our own version: that would read as an ancient proxy.</summary>
    public const string IstioVersion = "1.31.0";

    private const string Prefix = "ISTIO_META_", JsonPrefix = "ISTIO_METAJSON_", Labels = "ISTIO_METAJSON_LABELS";

    // istiod decodes these as booleans in a string; anything else ends the stream
    private static readonly FrozenSet<string> s_booleans = FrozenSet.Create(
        "DNS_CAPTURE", "DNS_AUTO_ALLOCATE", "ENABLE_HBONE", "DISABLE_HBONE_SEND", "ENABLE_SELF_DISCOVERY", "EXIT_ON_ZERO_ACTIVE_CONNECTIONS",
        "INBOUND_LISTENER_EXACT_BALANCE", "OUTBOUND_LISTENER_EXACT_BALANCE", "METADATA_DISCOVERY", "ENVOY_SKIP_DEPRECATED_LOGS");

    // objects, lists and numbers that a plain string would make undecodable
    private static readonly FrozenSet<string> s_reserved = FrozenSet.Create(
        "LABELS", "STATIC_LABELS", "ANNOTATIONS", "PROXY_CONFIG", "PLATFORM_METADATA", "PILOT_SAN", "ENVOY_STATUS_PORT", "ENVOY_PROMETHEUS_PORT",
        "ENVOY_SECURE_METRICS_PORT", "ENVOY_SECURE_MERGED_METRICS_PORT");

    private readonly JsonObject _metadata = [];

    /// <summary>The labels found while building, sanitised.</summary>
    public JsonObject LabelMap { get; private set; } = [];

    /// <summary>Metadata in the order of precedence, each step over the one before.</summary>
    public JsonObject Build(bool dnsCapture, int statusPort, int prometheusPort, string socketFile)
    {
        AddVariables();
        AddObjects();
        if (dnsCapture && !_metadata.ContainsKey("DNS_AUTO_ALLOCATE")) { _metadata["DNS_AUTO_ALLOCATE"] = "true"; } // virtual IPs are what DNS capture is for
        if (settings.Environment.NonEmpty("DNS_PROXY_ADDR") is { } dnsAddress) { _metadata["DNS_PROXY_ADDR"] = dnsAddress; }
        AddOwn(statusPort, prometheusPort, socketFile);
        return _metadata;
    }

    private void AddVariables()
    {
        foreach ((string name, Setting setting) in settings.Environment.All.Where(v => v.Key.StartsWith(Prefix, StringComparison.Ordinal)))
        {
            string key = name[Prefix.Length..];
            if (s_reserved.Contains(key)) { settings.Warn(name, setting.Origin, "is set by the agent itself; it is ignored", "Remove the line"); continue; }
            settings.Note(name, setting.Value, setting.Origin);
            string? value = s_booleans.Contains(key) ? BooleanText(name, setting) : key == "POD_PORTS" ? PodPorts(name, setting) : setting.Value;
            if (value is not null) { _metadata[key] = value; }
        }
    }

    /// <summary>Go's spellings stay as they are; others become <c>true</c> or <c>false</c>; empty is left out. Null: leave out.</summary>
    private string? BooleanText(string name, Setting setting)
    {
        if (GoValue.TryBool(setting.Value, out _)) { return setting.Value; }
        if (GoValue.TryLenientBool(setting.Value, out bool flag)) { return flag ? "true" : "false"; } // DNS_CAPTURE's own reader warns
        if (setting.Value.Length > 0) { settings.Mistake(name, setting, "is not a boolean", "Use true or false", 0); }
        return null;
    }

    /// <summary>A JSON array in a string. istioctl before 1.13 wrote that string as a JSON string once more, which its own agent could not read.</summary>
    private string? PodPorts(string name, Setting setting)
    {
        if (setting.Value.Length == 0) { settings.Warn(name, setting.Origin, "is empty; it is left out", "Remove the line"); return null; }
        JsonNode? node = JsonText.Parse(setting.Value);
        string text = setting.Value;
        if (node is JsonValue value && value.TryGetValue(out string? inner)) { (text, node) = (inner, JsonText.Parse(inner)); }
        return node is JsonArray ? text : settings.Mistake<string?>(name, setting, "is not a list of ports", "Write a JSON list such as [{\"name\":\"http\",\"containerPort\":8080}], or remove the line", null);
    }

    private void AddObjects()
    {
        foreach ((string name, Setting setting) in settings.Environment.All.Where(v => v.Key.StartsWith(JsonPrefix, StringComparison.Ordinal)))
        {
            settings.Note(name, setting.Value, setting.Origin);
            if (JsonText.Parse(setting.Value) is not JsonObject members)
            {
                settings.Warn(name, setting.Origin, "is not a JSON object; it is ignored", "Write one in single quotes: '{\"key\":\"value\"}'");
                continue;
            }
            if (name == Labels) { LabelMap = TextLabels(members, name, setting); members = LabelMap; }
            foreach ((string key, JsonNode? value) in members)
            {
                if (s_reserved.Contains(key)) { settings.Warn(name, setting.Origin, $"member {key} is set by the agent itself; it is ignored", "Remove it"); }
                else { _metadata[key] = value?.DeepClone(); }
            }
        }
    }

    private JsonObject TextLabels(JsonObject members, string name, Setting setting)
    {
        var labels = new JsonObject();
        foreach ((string key, JsonNode? value) in members)
        {
            bool isText = value is JsonValue v && v.TryGetValue(out string? _);
            if (!isText) { settings.Warn(name, setting.Origin, $"label {key} is not a text; it is taken as one", "Put the value in quotes"); }
            labels[key] = isText ? value!.GetValue<string>() : value?.ToJsonString() ?? "";
        }
        return labels;
    }

    private void AddOwn(int statusPort, int prometheusPort, string socketFile)
    {
        _metadata["NAME"] = identity.Name;
        _metadata["NAMESPACE"] = identity.Namespace;
        if (settings.Text("SERVICE_ACCOUNT", "") is { Length: > 0 } account) { _metadata["SERVICE_ACCOUNT"] = account; }
        _metadata["INSTANCE_IPS"] = string.Join(",", identity.Addresses);
        _metadata.TryAdd("ISTIO_VERSION", IstioVersion);
        _metadata["PROXY_CONFIG"] = CanonicalProxyConfig.Of(settings.Proxy.Value);
        AddLabels();
        if (settings.Proxy.Value["controlPlaneAuthPolicy"]?.ToString() != "NONE")
        {
            string host = HostPort.HostOf(settings.Proxy.Value["discoveryAddress"]?.ToString() ?? "");
            _metadata["PILOT_SAN"] = new JsonArray(host.Contains("localhost", StringComparison.Ordinal) ? "istiod.istio-system.svc" : host);
        }
        if (annotations.Values.Count > 0) { _metadata["ANNOTATIONS"] = new JsonObject(annotations.Values.Select(a => KeyValuePair.Create(a.Key, (JsonNode?)a.Value.Value))); }
        if (settings.Flag("stsPort", "0") is { } sts and not "0") { _metadata["STS_PORT"] = sts; }
        if (settings.Flag("outlierLogPath", "") is { Length: > 0 } outlier) { _metadata["OUTLIER_LOG_PATH"] = outlier; }
        _metadata["ENVOY_STATUS_PORT"] = statusPort;
        _metadata["ENVOY_PROMETHEUS_PORT"] = prometheusPort;
        _metadata["ENVOY_SKIP_DEPRECATED_LOGS"] = settings.Bool("ENVOY_SKIP_DEPRECATED_LOGS", true) ? "true" : "false";
        _metadata["METADATA_DISCOVERY"] = "false"; // needs an extension that only Istio's Envoy has; asked for on purpose only
        _metadata["WORKLOAD_IDENTITY_SOCKET_FILE"] = socketFile;
        if (settings.Bool("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", false)) { _metadata["EXIT_ON_ZERO_ACTIVE_CONNECTIONS"] = "true"; }
    }

    private void AddLabels()
    {
        if (LabelMap.Count > 0) { _metadata["STATIC_LABELS"] = LabelMap.DeepClone(); }
        foreach ((string key, Setting label) in podLabels.Values) { if (key != "pod-template-hash") { LabelMap[key] = label.Value; } }
        if (NodeLocality.LabelOf(LabelMap) is { } locality) { LabelMap["istio-locality"] = NodeLocality.Sanitise(locality); }
        if (LabelMap.Count > 0) { _metadata["LABELS"] = LabelMap.DeepClone(); }
    }
}
