using System.Collections.Immutable;
using System.Text.Json.Nodes;

namespace VmSidecar.Configuration;

/// <summary>
/// Everything configuration says, read once: files, environment, flags and host facts become <see cref="SidecarOptions"/>, or the list of every
/// mistake. Touches nothing and asks nobody over the network. Stages: 1 files and environment, 2 proxy configuration, 3 node, 4 options.
/// </summary>
internal sealed record ConfigLoad
{
    /// <summary>Null when there is a mistake that is not a warning.</summary>
    public required SidecarOptions? Options { get; init; }

    /// <summary>What was read, each mistaken value at its default: to look for further mistakes with, never to start with.</summary>
    public required SidecarOptions Draft { get; init; }

    /// <summary>Mistakes and warnings, in order of file and line.</summary>
    public required ImmutableArray<ConfigError> Errors { get; init; }

    /// <summary>Every setting with its value and origin.</summary>
    public required ImmutableArray<EffectiveSetting> Settings { get; init; }

    /// <summary>The variables that apply; the capture rules take their own settings from here.</summary>
    public required EffectiveEnvironment Environment { get; init; }

    /// <summary>Mistakes that keep the daemon from starting.</summary>
    public IEnumerable<ConfigError> Mistakes => Errors.Where(e => !e.IsWarning);

    public static ConfigLoad Read(HostPaths paths, IReadOnlyDictionary<string, string> environment, CommandLineFlags flags, INetworkFacts network)
    {
        var errors = new List<ConfigError>();
        EffectiveEnvironment files = EffectiveEnvironment.Load(paths, environment, errors);                            // 1
        CommandLineFlags allFlags = flags.Over(AgentFlags(files, errors));
        PodFile annotations = PodFile.Read(paths.At("etc/istio/pod/annotations"), errors);
        EffectiveProxyConfig proxy = ProxyConfigSources.Read(paths, files, allFlags, annotations, errors);             // 2
        var settings = new SettingReader(files.Above(proxy.ProxyMetadata()), proxy, allFlags, errors);
        SidecarOptions options = Build(settings, paths, network, annotations);                                         // 3, 4
        MisspelledSettings.Report(settings);
        UnsupportedSettings.Report(settings);
        ImmutableArray<ConfigError> all = [.. errors.Distinct().OrderBy(e => e.File, StringComparer.Ordinal).ThenBy(e => e.Line)];
        return new()
        {
            Options = all.Any(e => !e.IsWarning) ? null : options,
            Draft = options,
            Errors = all,
            Settings = [.. settings.Effective.OrderBy(s => s.Name, StringComparer.Ordinal)],
            Environment = settings.Environment,
        };
    }

    private static SidecarOptions Build(SettingReader settings, HostPaths paths, INetworkFacts network, PodFile annotations)
    {
        CheckDiscovery(settings);
        CheckInterception(settings);
        CheckNoInterception(settings);
        NodeIdentity identity = NodeIdentity.Read(settings, paths, network);
        DnsOptions dns = DnsSettings.Read(settings, paths, identity);
        var status = new StatusOptions(
            settings.FieldPort("statusPort", 15020, zeroAllowed: true), settings.Port("ENVOY_PROMETHEUS_PORT", 15090),
            settings.Bool("METRICS_LOCALHOST_ACCESS_ONLY", false), settings.Environment.NonEmpty("ISTIO_PROMETHEUS_ANNOTATIONS"), dns.Enabled);
        string socketFile = SocketFile(settings);
        var sds = new SdsOptions([paths.At($"var/run/secrets/workload-spiffe-uds/{socketFile}"), paths.LegacySdsSocket],
            settings.Bool("PILOT_ENABLE_CA_CRL", true) ? paths.At("var/run/secrets/istio/crl/ca-crl.pem") : null, paths)
        {
            KeyProvider = KeyProviderOptions.Read(settings),
            DemandsExternal = socketFile != "socket",
            Peers = SdsPeers.Read(settings, paths),
        };
        NodeOptions node = Node(settings, paths, identity, annotations, dns, status, socketFile);
        IdentityOptions credentials = IdentitySettings.Read(settings, paths, identity);
        EnvoyOptions envoy = EnvoySettings.Read(settings, paths, identity, node, sds, status);
        return new()
        {
            Paths = paths,
            Node = node,
            Log = LogSettings.Read(settings, paths),
            Identity = credentials,
            Sds = sds,
            Xds = XdsSettings.Read(settings, paths, node, dns.Enabled, envoy.XdsSocket) with { GrpcCertificates = credentials.OutputDirectory },
            Dns = dns,
            Envoy = envoy,
            Status = status,
            Probe = ProbeSettings.Read(settings, identity),
        };
    }

    private static NodeOptions Node(
        SettingReader settings, HostPaths paths, NodeIdentity identity, PodFile annotations, DnsOptions dns, StatusOptions status, string socketFile)
    {
        var builder = new NodeMetadata(settings, identity, PodFile.Read(paths.At("etc/istio/pod/labels"), settings.Errors), annotations);
        JsonObject metadata = builder.Build(dns.Enabled, settings.Port("ENVOY_STATUS_PORT", 15021), status.EnvoyPrometheusPort, socketFile);
        string cluster = NodeCluster.Of(settings.Proxy.Value, builder.LabelMap, metadata, identity.Namespace);
        settings.Note("node id", identity.Id, new("computed"));
        settings.Note("node cluster", cluster, new("computed"));
        settings.FieldText("serviceCluster");
        (string region, string zone, string subZone) = NodeLocality.Of(NodeLocality.LabelOf(builder.LabelMap));
        return new(identity.Id, cluster, region, zone, subZone, metadata, [.. identity.Addresses.Select(a => a.ToString())]);
    }

    /// <summary>ISTIO_AGENT_FLAGS, split at blanks without quoting, as the start script does.</summary>
    private static CommandLineFlags AgentFlags(EffectiveEnvironment environment, ICollection<ConfigError> errors) =>
        environment.TryGet("ISTIO_AGENT_FLAGS", out Setting setting)
            ? CommandLineFlags.Parse(setting.Value.Split((char[])[' ', '\t', '\n'], StringSplitOptions.RemoveEmptyEntries), setting.Origin, errors)
            : CommandLineFlags.None;

    private static void CheckDiscovery(SettingReader settings)
    {
        string address = settings.FieldText("discoveryAddress");
        settings.TryHostPort("discoveryAddress", new(address, settings.Proxy.OriginOf("discoveryAddress")));
    }

    /// <summary>On a VM only the environment decides about TPROXY: rules by one variable, istiod's listeners by another.</summary>
    private static void CheckInterception(SettingReader settings)
    {
        bool rules = settings.Environment["ISTIO_INBOUND_INTERCEPTION_MODE"] == "TPROXY", listeners = settings.Environment["ISTIO_META_INTERCEPTION_MODE"] == "TPROXY";
        if (settings.Proxy.Value["interceptionMode"]?.ToString() == "TPROXY" && !(rules && listeners))
        {
            settings.Warn("interceptionMode", settings.Proxy.OriginOf("interceptionMode"), "TPROXY in the mesh file does nothing on a VM",
                "Set ISTIO_INBOUND_INTERCEPTION_MODE=TPROXY and ISTIO_META_INTERCEPTION_MODE=TPROXY in sidecar.env");
        }
        else if (rules != listeners)
        {
            string set = rules ? "ISTIO_INBOUND_INTERCEPTION_MODE" : "ISTIO_META_INTERCEPTION_MODE", missing = rules ? "ISTIO_META_INTERCEPTION_MODE" : "ISTIO_INBOUND_INTERCEPTION_MODE";
            settings.Environment.TryGet(set, out Setting setting);
            settings.Warn(set, setting.Origin, $"TPROXY needs {missing}=TPROXY as well: rules and listeners must agree", $"Set {missing}=TPROXY too");
        }
    }

    /// <summary>The rules stay, and there is nobody behind them.</summary>
    private static void CheckNoInterception(SettingReader settings)
    {
        const string Name = "ISTIO_META_INTERCEPTION_MODE";
        if (settings.Environment[Name] != "NONE" || !settings.Environment.TryGet(Name, out Setting setting)) { return; }
        settings.Warn(Name, setting.Origin, "with NONE istiod sends no listeners for captured connections; where capture rules are on, every one of them is refused",
            "Remove the line, or run without capture rules");
    }

    private static string SocketFile(SettingReader settings)
    {
        string name = settings.NonEmptyText("WORKLOAD_IDENTITY_SOCKET_FILE", "socket");
        if (!name.Contains('/', StringComparison.Ordinal) && name is not ("." or "..")) { return name; }
        settings.Environment.TryGet("WORKLOAD_IDENTITY_SOCKET_FILE", out Setting setting);
        return settings.Mistake("WORKLOAD_IDENTITY_SOCKET_FILE", setting, "is a path", "Write a file name only", "socket");
    }
}
