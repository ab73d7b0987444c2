using System.Collections.Immutable;

namespace VmSidecar.Configuration;

/// <summary>Parsed settings of <c>Envoy/</c>.</summary>
internal sealed record EnvoyOptions
{
    /// <summary>DISABLE_ENVOY turns it off.</summary>
    public bool Enabled { get; init; } = true;

    /// <summary>The executable found (binaryPath, /usr/bin/envoy, PATH), or null when there is none.</summary>
    public required string? Binary { get; init; }

    /// <summary>Where it was looked for, for the error.</summary>
    public ImmutableArray<string> SearchedFor { get; init; } = [];

    /// <summary>Folder of the generated bootstrap (0700).</summary>
    public required string ConfigDirectory { get; init; }

    /// <summary>customConfigFile: used as it is instead of a generated bootstrap; null: generate.</summary>
    public string? CustomConfigFile { get; init; }

    /// <summary>ISTIO_BOOTSTRAP_OVERRIDE content for --config-yaml; null: none.</summary>
    public string? BootstrapOverride { get; init; }

    public int AdminPort { get; init; } = 15000;

    /// <summary>Loopback address of admin and static clusters, 127.0.0.1 or ::1.</summary>
    public string Localhost { get; init; } = "127.0.0.1";

    /// <summary>0.0.0.0 or ::.</summary>
    public string Wildcard { get; init; } = "0.0.0.0";

    public int StatusPort { get; init; } = 15020;
    public int EnvoyStatusPort { get; init; } = 15021;
    public int EnvoyPrometheusPort { get; init; } = 15090;
    public required string SdsSocket { get; init; }

    /// <summary>Where the agent serves file certificates while an external SDS has <see cref="SdsSocket"/>; null: there too.</summary>
    public string? FilesSdsSocket { get; init; }

    public required string XdsSocket { get; init; }
    public required NodeOptions Node { get; init; }

    /// <summary>--concurrency; 0: not passed.</summary>
    public int Concurrency { get; init; }

    public string LogLevel { get; init; } = "warning";
    public string ComponentLogLevel { get; init; } = "misc:error";

    /// <summary>--drain-time-s.</summary>
    public TimeSpan DrainDuration { get; init; } = TimeSpan.FromSeconds(45);

    /// <summary>Wait between the drain call and the end of Envoy.</summary>
    public TimeSpan TerminationDrainDuration { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>EXIT_ON_ZERO_ACTIVE_CONNECTIONS.</summary>
    public bool ExitOnZeroConnections { get; init; }

    /// <summary>MINIMUM_DRAIN_DURATION.</summary>
    public TimeSpan MinimumDrainDuration { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>ProxyConfig parts that only shape the bootstrap (stats tags, matcher, tracing...), as merged JSON.</summary>
    public required System.Text.Json.Nodes.JsonObject ProxyConfig { get; init; }

    public bool JsonLogs { get; init; }

    /// <summary>METRICS_LOCALHOST_ACCESS_ONLY: Envoy's metrics listener on loopback only.</summary>
    public bool MetricsLocalhostOnly { get; init; }

    /// <summary>ENVOY_SKIP_DEPRECATED_LOGS.</summary>
    public bool SkipDeprecatedLogs { get; init; } = true;

    /// <summary>ISTIO_ENVOY_ENABLE_CORE_DUMP.</summary>
    public bool CoreDump { get; init; }

    /// <summary>ENVOY_HOT_RESTART: a changed executable or bootstrap is taken by a second Envoy that hands over from the first.</summary>
    public bool HotRestart { get; init; }

    /// <summary>Where Envoy's profiler writes when asked.</summary>
    public string ProfilePath { get; init; } = "/var/lib/istio/data/envoy.prof";

    /// <summary>Extra environment for Envoy.</summary>
    public ImmutableArray<KeyValuePair<string, string>> ExtraEnvironment { get; init; } = [];
}
