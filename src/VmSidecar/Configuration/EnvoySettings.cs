using System.Collections.Immutable;
using System.Text.Json.Nodes;

using VmSidecar.Linux.Files;

namespace VmSidecar.Configuration;

/// <summary>Reads <see cref="EnvoyOptions"/>: the executable, its folder, ports, threads, log levels and drain.</summary>
internal static class EnvoySettings
{
    private static readonly string[] s_addresses = ["address", "statsdUdpAddress", "envoyMetricsServiceAddress"];
    private const string UsualBinary = "/usr/local/bin/envoy", PackagedBinary = "/usr/bin/envoy";

    public static EnvoyOptions Read(SettingReader settings, HostPaths paths, NodeIdentity identity, NodeOptions node, SdsOptions sds, StatusOptions status)
    {
        (string? binary, ImmutableArray<string> searched) = Binary(settings);
        string config = paths.At(settings.FieldText("configPath"));
        (string level, string components) = LogLevels(settings);
        string custom = settings.FieldText("customConfigFile");
        bool ipv6 = identity.IsIPv6;
        if (settings.Proxy.Value["binaryPath"]?.ToString() is not { Length: > 0 }) { ReportEmpty(settings, "binaryPath"); }
        if (settings.Proxy.Value["configPath"]?.ToString() is not { Length: > 0 }) { ReportEmpty(settings, "configPath"); }
        return new()
        {
            Enabled = !settings.Bool("DISABLE_ENVOY", false),
            Binary = binary,
            SearchedFor = searched,
            ConfigDirectory = config,
            CustomConfigFile = custom.Length == 0 ? null : paths.At(custom),
            BootstrapOverride = Override(settings, paths),
            AdminPort = settings.FieldPort("proxyAdminPort", 15000),
            Localhost = ipv6 ? "::1" : "127.0.0.1",
            Wildcard = ipv6 ? "::" : "0.0.0.0",
            StatusPort = status.Port,
            EnvoyStatusPort = settings.Port("ENVOY_STATUS_PORT", 15021),
            EnvoyPrometheusPort = status.EnvoyPrometheusPort,
            SdsSocket = sds.Sockets[0],
            XdsSocket = Path.Combine(config, "XDS"),
            Node = node,
            Concurrency = Concurrency(settings),
            LogLevel = level,
            ComponentLogLevel = components,
            DrainDuration = WholeSeconds(settings),
            TerminationDrainDuration = settings.FieldWait("terminationDrainDuration", TimeSpan.FromSeconds(5)),
            ExitOnZeroConnections = settings.Bool("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", false),
            MinimumDrainDuration = settings.Wait("MINIMUM_DRAIN_DURATION", TimeSpan.FromSeconds(5)),
            ProxyConfig = WithHostIp(settings),
            JsonLogs = LogSettings.IsJson(settings),
            MetricsLocalhostOnly = status.MetricsLocalhostOnly,
            SkipDeprecatedLogs = settings.Bool("ENVOY_SKIP_DEPRECATED_LOGS", true),
            CoreDump = settings.Bool("ISTIO_ENVOY_ENABLE_CORE_DUMP", false),
            HotRestart = settings.Bool("ENVOY_HOT_RESTART", false),
            ProfilePath = Path.Combine(paths.Data, "envoy.prof"),
            ExtraEnvironment = settings.Environment.Assigned,
        };
    }

    /// <summary>binaryPath, then the vendor package's place, then PATH. binaryPath is not relocated: it names a program of this host.</summary>
    private static (string? Found, ImmutableArray<string> Searched) Binary(SettingReader settings)
    {
        string given = settings.FieldText("binaryPath");
        string[] folders = (settings.Environment["PATH"] ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries);
        ImmutableArray<string> searched =
            [.. new[] { given, UsualBinary, PackagedBinary }.Concat(folders.Where(Path.IsPathRooted).Select(f => Path.Combine(f, "envoy"))).Where(p => p.Length > 0).Distinct()];
        string? found = searched.FirstOrDefault(Executable.Is);
        SettingOrigin origin = settings.Proxy.OriginOf("binaryPath");
        if (found is not null && found != given && origin != SettingOrigin.Default)
        {
            settings.Warn("binaryPath", origin, $"'{given}' is not a program; {found} is used", "Correct the path, or remove the line");
        }
        settings.Note("Envoy binary", found ?? "(none)", found == given ? origin : new("search"));
        return (found, searched);
    }

    private static int Concurrency(SettingReader settings)
    {
        if (settings.Proxy.Value["concurrency"] is not null)
        {
            return settings.Field("concurrency", 0, (setting, _) => int.TryParse(setting.Value, out int threads) && threads >= 0
                ? threads : settings.Mistake("concurrency", setting, "is not a number of threads", "Use a whole number, 0 for all processors", 0));
        }
        return settings.Integer("ISTIO_CPU_LIMIT", 0, least: 0);
    }

    /// <summary>--proxyLogLevel may hold <c>level,component:level,...</c>; --proxyComponentLogLevel counts where it names no component.</summary>
    private static (string Level, string Components) LogLevels(SettingReader settings)
    {
        string level = "";
        var components = new List<string>();
        foreach (string item in settings.Flag("proxyLogLevel", "warning").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            switch (item.Count(c => c == ':'))
            {
                case 0: level = item; break;
                case 1: components.Add(item); break;
                default:
                    settings.Warn("--proxyLogLevel", SettingOrigin.CommandLine, $"'{item}' is not component:level; it is ignored", "Write level,component:level");
                    break;
            }
        }
        string own = settings.Flag("proxyComponentLogLevel", "misc:error");
        return (level, components.Count > 0 ? string.Join(',', components) : own);
    }

    private static TimeSpan WholeSeconds(SettingReader settings)
    {
        TimeSpan drain = settings.FieldDuration("drainDuration", TimeSpan.FromSeconds(45));
        return TimeSpan.FromSeconds(Math.Truncate(drain.TotalSeconds));
    }

    /// <summary>Content of the override file, with <c>$(HOST_IP)</c> replaced; unreadable is a warning, as in the classic agent.</summary>
    private static string? Override(SettingReader settings, HostPaths paths)
    {
        string path = settings.Text("ISTIO_BOOTSTRAP_OVERRIDE", "");
        if (path.Length == 0) { return null; }
        var own = new List<ConfigError>();
        string? text = EffectiveEnvironment.ReadText(paths.At(path), own, out bool exists);
        foreach (ConfigError error in own) { settings.Errors.Add(error with { IsWarning = true }); }
        if (!exists)
        {
            settings.Environment.TryGet("ISTIO_BOOTSTRAP_OVERRIDE", out Setting setting);
            settings.Warn("ISTIO_BOOTSTRAP_OVERRIDE", setting.Origin, $"the file '{path}' does not exist; it is ignored", "Correct the path, or remove the line");
        }
        string bracketed = HostIp(settings) ?? "";
        return text?.Replace("[$(HOST_IP)]", bracketed, StringComparison.Ordinal).Replace("$(HOST_IP)", bracketed, StringComparison.Ordinal);
    }

    /// <summary>HOST_IP, an IPv6 one in brackets; null: not set.</summary>
    private static string? HostIp(SettingReader settings) =>
        settings.Environment.NonEmpty("HOST_IP") is { } host ? host.Contains(':', StringComparison.Ordinal) ? $"[{host}]" : host : null;

    /// <summary>The merged configuration with <c>$(HOST_IP)</c> replaced in addresses of telemetry services.</summary>
    private static JsonObject WithHostIp(SettingReader settings)
    {
        var config = (JsonObject)settings.Proxy.Value.DeepClone();
        if (HostIp(settings) is not { } host) { return config; }
        JsonObject?[] holders =
        [
            config, config["tracing"]?["zipkin"] as JsonObject, config["tracing"]?["datadog"] as JsonObject, config["tracing"]?["lightstep"] as JsonObject,
            config["envoyMetricsService"] as JsonObject, config["envoyAccessLogService"] as JsonObject,
        ];
        foreach (JsonObject holder in holders.OfType<JsonObject>())
        {
            foreach (string field in s_addresses)
            {
                if (holder[field]?.ToString() is { } address && address.StartsWith("$(HOST_IP):", StringComparison.Ordinal)) { holder[field] = host + address["$(HOST_IP)".Length..]; }
            }
        }
        return config;
    }

    private static void ReportEmpty(SettingReader settings, string field)
    {
        SettingOrigin origin = settings.Proxy.OriginOf(field);
        settings.Errors.Add(new(origin.Source, origin.Line, field, "is empty", "Write a path, or remove the line"));
    }
}
