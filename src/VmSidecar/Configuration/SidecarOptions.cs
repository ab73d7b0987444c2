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

    /// <summary>The same host where an external SDS issues the workload's certificate: no CA, nothing written, files served on a socket of their own, and istiod told so.</summary>
    public SidecarOptions WithExternalSds()
    {
        SidecarOptions told = WithMetadata("file-credential");
        return told with
        {
            Identity = Identity with { IsExternal = true, OutputDirectory = null, Mounted = null },
            Sds = Sds with { Sockets = [Paths.FilesSdsSocket], ServesWorkload = false },
            Envoy = told.Envoy with { FilesSdsSocket = Paths.FilesSdsSocket },
            Xds = told.Xds with { GrpcCertificates = null },
        };
    }

    /// <summary>The same host where an SDS for <c>sds://</c> credentials of gateways answers: istiod is told, and makes the cluster for it.</summary>
    public SidecarOptions WithCredentialSds() => WithMetadata("credential");

    private SidecarOptions WithMetadata(string key)
    {
        NodeOptions node = Node.With(key, "true");
        return this with { Node = node, Envoy = Envoy with { Node = node }, Xds = Xds with { Node = node } };
    }
}
