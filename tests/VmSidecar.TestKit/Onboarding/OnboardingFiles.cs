using System.Collections.Immutable;
using System.Text.Encodings.Web;
using System.Text.Json.Nodes;

using VmSidecar.Configuration;

namespace VmSidecar.TestKit.Onboarding;

/// <summary>
/// The five files of <c>istioctl x workload entry configure</c>, byte for byte as 1.10 or current istioctl writes them for one WorkloadGroup, and
/// their documented places on the VM. Compared with recorded ones by OnboardingFilesTests.
/// </summary>
internal sealed record OnboardingFiles
{
    public required string Group { get; init; }
    public required string Namespace { get; init; }
    public string ServiceAccount { get; init; } = "default";

    /// <summary>Labels of the group, e.g. <c>app</c>, <c>version</c>, <c>class</c>.</summary>
    public ImmutableSortedDictionary<string, string> Labels { get; init; } = ImmutableSortedDictionary.Create<string, string>(StringComparer.Ordinal);

    /// <summary>Ports of the group's template, in order.</summary>
    public ImmutableArray<KeyValuePair<string, int>> Ports { get; init; } = [];

    /// <summary>True for istioctl 1.10, with its double-encoded POD_PORTS; false for the current one.</summary>
    public bool Istio110 { get; init; }

    public bool AutoRegister { get; init; }
    public bool CaptureDns { get; init; } = true;
    public string ClusterId { get; init; } = "Kubernetes";
    public string MeshId { get; init; } = "";
    public string Network { get; init; } = "";
    public string TrustDomain { get; init; } = "cluster.local";

    /// <summary>The mesh's discoveryAddress; null: it has none.</summary>
    public string? DiscoveryAddress { get; init; } = "istiod.istio-system.svc:15012";

    /// <summary>The mesh's own proxyMetadata, e.g. ISTIO_META_DNS_AUTO_ALLOCATE.</summary>
    public ImmutableDictionary<string, string> MeshMetadata { get; init; } = ImmutableDictionary<string, string>.Empty;

    /// <summary>The group's probe as in the proxy configuration; null: none.</summary>
    public JsonObject? Probe { get; init; }

    /// <summary>--internalIP (current only).</summary>
    public string? InternalIp { get; init; }

    public required string Token { get; init; }
    public required string RootPem { get; init; }

    /// <summary>Address istiod is reached at from the VM; null: an empty hosts file.</summary>
    public string? IngressIp { get; init; }

    public string ClusterEnv()
    {
        var variables = new Dictionary<string, string>(Metadata())
        {
            ["ISTIO_INBOUND_PORTS"] = Ports.IsEmpty ? "*" : string.Join(',', Ports.Select(p => p.Value)),
            ["ISTIO_LOCAL_EXCLUDE_PORTS"] = Istio110 ? "15090,15021" : "22,15090,15021,15020",
            ["ISTIO_NAMESPACE"] = Namespace,
            ["ISTIO_SERVICE"] = $"{Group}.{Namespace}",
            ["ISTIO_SERVICE_CIDR"] = "*",
        };
        if (InternalIp is not null) { variables["ISTIO_SVC_IP"] = InternalIp; }
        return string.Concat(variables.Select(v => $"{v.Key}={Quote(v.Value)}\n").Order(StringComparer.Ordinal));
    }

    public string MeshYaml()
    {
        var config = new JsonObject { ["proxyMetadata"] = new JsonObject(Metadata().Select(m => KeyValuePair.Create(m.Key, (JsonNode?)m.Value))) };
        if (DiscoveryAddress is not null) { config["discoveryAddress"] = DiscoveryAddress; }
        if (MeshId.Length > 0) { config["meshId"] = MeshId; }
        if (Probe is not null) { config["readinessProbe"] = Probe.DeepClone(); }
        return GoYaml.Write(new JsonObject { ["defaultConfig"] = config });
    }

    public string Hosts() => IngressIp is null ? "" : $"{IngressIp} {HostPort.HostOf(DiscoveryAddress ?? "istiod.istio-system.svc:15012")}\n";

    /// <summary>Writes the five files under istioctl's names into <paramref name="folder"/>.</summary>
    public void WriteTo(string folder)
    {
        Directory.CreateDirectory(folder);
        Write(Path.Combine(folder, "cluster.env"), ClusterEnv());
        Write(Path.Combine(folder, "mesh.yaml"), MeshYaml());
        Write(Path.Combine(folder, "root-cert.pem"), RootPem);
        Write(Path.Combine(folder, "istio-token"), Token);
        Write(Path.Combine(folder, "hosts"), Hosts());
    }

    /// <summary>What the operator does with them: copies each to its place below <paramref name="paths"/>, and appends to the hosts file.</summary>
    public void Install(HostPaths paths)
    {
        Write(paths.ClusterEnv, ClusterEnv());
        Write(paths.Mesh, MeshYaml());
        Write(Path.Combine(paths.Certificates, "root-cert.pem"), RootPem);
        Write(paths.Token, Token);
        Directory.CreateDirectory(paths.ProxyDirectory);
        Directory.CreateDirectory(Path.GetDirectoryName(paths.Hosts)!);
        File.AppendAllText(paths.Hosts, Hosts());
    }

    /// <summary>istioctl's quoting. The bare set has the letter w and a backslash: a slip of the generator that files in the field carry.</summary>
    public static string Quote(string value)
    {
        if (value.Length == 0) { return "''"; }
        return value.All(c => "\\w@%+=:,./-".Contains(c)) ? value : $"'{value.Replace("'", "'\"'\"'", StringComparison.Ordinal)}'";
    }

    private Dictionary<string, string> Metadata()
    {
        string service = Labels.GetValueOrDefault("service.istio.io/canonical-name") ?? Labels.GetValueOrDefault("app.kubernetes.io/name") ?? Labels.GetValueOrDefault("app") ?? Group;
        string revision = Labels.GetValueOrDefault("service.istio.io/canonical-revision") ?? Labels.GetValueOrDefault("app.kubernetes.io/version") ?? Labels.GetValueOrDefault("version") ?? "latest";
        ImmutableSortedDictionary<string, string> labels = Labels
            .SetItem("service.istio.io/canonical-name", service)
            .SetItem(Istio110 ? "service.istio.io/canonical-version" : "service.istio.io/canonical-revision", revision);
        var metadata = new Dictionary<string, string>(MeshMetadata)
        {
            ["CANONICAL_SERVICE"] = service, ["CANONICAL_REVISION"] = revision, ["POD_NAMESPACE"] = Namespace, ["SERVICE_ACCOUNT"] = ServiceAccount,
            ["TRUST_DOMAIN"] = TrustDomain, ["ISTIO_META_CLUSTER_ID"] = ClusterId, ["ISTIO_META_MESH_ID"] = MeshId, ["ISTIO_META_NETWORK"] = Network,
            ["ISTIO_META_WORKLOAD_NAME"] = Group, ["ISTIO_METAJSON_LABELS"] = Json(new JsonObject(labels.Select(l => KeyValuePair.Create(l.Key, (JsonNode?)l.Value)))),
        };
        if (!Ports.IsEmpty) { metadata["ISTIO_META_POD_PORTS"] = Istio110 ? Json(JsonValue.Create(PortList())) : PortList(); }
        if (CaptureDns) { metadata["ISTIO_META_DNS_CAPTURE"] = "true"; }
        if (AutoRegister) { metadata["ISTIO_META_AUTO_REGISTER_GROUP"] = Group; }
        return metadata;
    }

    private string PortList() => Json(new JsonArray([.. Ports.OrderBy(p => p.Key, StringComparer.Ordinal)
        .Select(p => (JsonNode)new JsonObject { ["name"] = p.Key, ["containerPort"] = p.Value, ["protocol"] = "" })]));

    private static string Json(JsonNode node)
    {
        using var buffer = new MemoryStream();
        using (var writer = new System.Text.Json.Utf8JsonWriter(buffer, new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping })) { node.WriteTo(writer); }
        return System.Text.Encoding.UTF8.GetString(buffer.ToArray());
    }

    private static void Write(string path, string text)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
        File.SetUnixFileMode(path, (UnixFileMode)0b111_100_100); // 0744, the token too, as istioctl leaves them
    }
}
