namespace VmSidecar.Configuration;

/// <summary>Everything the daemon was told, parsed once and frozen. Made by <c>SettingReader</c>; a mistake anywhere means there is no SidecarOptions but a list of ConfigError.</summary>
internal sealed record SidecarOptions
{
    public required HostPaths Paths { get; init; }
    public required NodeOptions Node { get; init; }
    public required LogOptions Log { get; init; }
    public required IdentityOptions Identity { get; init; }
    public required SdsOptions Sds { get; init; }
    public required XdsOptions Xds { get; init; }
    public required DnsOptions Dns { get; init; }
    public required EnvoyOptions Envoy { get; init; }
    public required StatusOptions Status { get; init; }

    /// <summary>Null: no readinessProbe configured, so no health messages.</summary>
    public required ProbeOptions? Probe { get; init; }

    /// <summary>All of a stop together; what overruns is abandoned.</summary>
    public TimeSpan ShutdownBudget { get; init; } = TimeSpan.FromSeconds(25);
}
