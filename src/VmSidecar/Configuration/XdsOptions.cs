namespace VmSidecar.Configuration;

/// <summary>Parsed settings of <c>Xds/</c>.</summary>
internal sealed record XdsOptions
{
    /// <summary>Unix socket served to Envoy.</summary>
    public required string Socket { get; init; }

    /// <summary>istiod, <c>host:port</c>, resolved at each dial.</summary>
    public required string DiscoveryAddress { get; init; }

    /// <summary>TLS server name; null: host of the address (localhost becomes istiod.istio-system.svc).</summary>
    public string? ServerName { get; init; }

    /// <summary>controlPlaneAuthPolicy NONE.</summary>
    public bool Plaintext { get; init; }

    /// <summary>True when the agent consumes NDS (the DNS server runs).</summary>
    public bool SubscribeNames { get; init; }

    /// <summary>PROXY_CONFIG_XDS_AGENT: the agent consumes PCDS.</summary>
    public bool SubscribeTrust { get; init; }

    /// <summary>ISTIO_DELTA_XDS: null = by observation (delta unless the server says UNIMPLEMENTED); else forced.</summary>
    public bool? Delta { get; init; }

    /// <summary>Folder for the mode last seen and, later, last good resources.</summary>
    public required string StateDirectory { get; init; }

    /// <summary>VMSIDECAR_XDS_MAX_MESSAGE: largest message either way, bytes.</summary>
    public int MaxMessage { get; init; } = 200 * 1024 * 1024;

    /// <summary>ISTIO_GPRC_MAXRECVMSGSIZE: largest message taken from Envoy, bytes; null: as <see cref="MaxMessage"/>.</summary>
    public int? MaxRequest { get; init; }

    /// <summary>A response from istiod above this, bytes, is passed on while it arrives instead of being gathered first.</summary>
    public int LargeMessage { get; init; } = 256 * 1024;

    /// <summary>
    /// Longest time a stream stays on a connection that istiod has said goodbye on; each takes a random part of it, so that the VMs of one istiod do not come back as
    /// a wave. istiod cuts ten seconds after its goodbye (reference 03 section 3.5).
    /// </summary>
    public TimeSpan LeaveWithin { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>VMSIDECAR_OFFLINE_MAX_AGE: oldest resources Envoy is started with while istiod cannot be reached; zero: never.</summary>
    public TimeSpan OfflineMaxAge { get; init; } = TimeSpan.FromHours(24);

    /// <summary>GRPC_XDS_BOOTSTRAP: where the bootstrap of proxyless gRPC clients is written; null: nowhere.</summary>
    public string? GrpcBootstrapFile { get; init; }

    /// <summary>OUTPUT_CERTS, named in that bootstrap; null: no certificates on disk.</summary>
    public string? GrpcCertificates { get; init; }

    /// <summary>How Wasm modules are fetched; null: filters that name one by address stay as they are.</summary>
    public WasmOptions? Wasm { get; init; }

    public required NodeOptions Node { get; init; }
}
