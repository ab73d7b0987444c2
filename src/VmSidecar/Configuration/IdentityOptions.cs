using System.Collections.Immutable;

namespace VmSidecar.Configuration;

/// <summary>Parsed settings of <c>Identity/</c> (reference: CA client, certificates on disk).</summary>
internal sealed record IdentityOptions
{
    /// <summary><c>host:port</c> of the CA (CA_ADDR, default the discovery address).</summary>
    public required string CaAddress { get; init; }

    /// <summary>TLS server name of the CA; null: host of the address.</summary>
    public string? CaServerName { get; init; }

    /// <summary>True when CA_ADDR ends in :15010.</summary>
    public bool CaPlaintext { get; init; }

    /// <summary>PEM roots that verify the CA; null: the OS store (CA_ROOT_CA=SYSTEM).</summary>
    public string? CaRootFile { get; init; }

    /// <summary>PEM roots that verify istiod's xDS; null: the OS store (XDS_ROOT_CA=SYSTEM).</summary>
    public string? XdsRootFile { get; init; }

    /// <summary>PROV_CERT: folder with cert-chain.pem, key.pem for client authentication; null: none.</summary>
    public string? ProvisionedDirectory { get; init; }

    /// <summary>OUTPUT_CERTS: folder that receives issued certificates; null: none.</summary>
    public string? OutputDirectory { get; init; }

    /// <summary>Mode of files in <see cref="OutputDirectory"/>: 0600, or 0644 on Kubernetes.</summary>
    public bool OutputWorldReadable { get; init; }

    /// <summary>Token file; null: no token is ever read.</summary>
    public string? TokenFile { get; init; }

    /// <summary>Used when <see cref="TokenFile"/> is missing, e.g. a persistent copy; null: none.</summary>
    public string? PersistentTokenFile { get; init; }

    /// <summary>FILE_MOUNTED_CERTS: certificates from files, no CA.</summary>
    public bool FileMounted { get; init; }

    public required string TrustDomain { get; init; }
    public required string Namespace { get; init; }
    public required string ServiceAccount { get; init; }

    /// <summary>Sent as metadata <c>clusterid</c>, also when empty.</summary>
    public required string ClusterId { get; init; }

    /// <summary>Requested lifetime (SECRET_TTL).</summary>
    public TimeSpan Ttl { get; init; } = TimeSpan.FromHours(24);

    /// <summary>Renew when this share of the lifetime remains.</summary>
    public double GraceRatio { get; init; } = 0.5;

    /// <summary>Random offset of <see cref="GraceRatio"/>, plus or minus.</summary>
    public double GraceJitter { get; init; } = 0.01;

    /// <summary>RSA, ECDSA P-256 or P-384.</summary>
    public KeyAlgorithm Algorithm { get; init; } = KeyAlgorithm.Rsa;

    /// <summary>RSA key size, bits, at least 2048.</summary>
    public int RsaBits { get; init; } = 2048;

    /// <summary>PKCS8_KEY: PEM form PRIVATE KEY instead of the algorithm's own.</summary>
    public bool Pkcs8 { get; init; }

    /// <summary>Value of request metadata <c>CertSigner</c>.</summary>
    public string CertSigner { get; init; } = "";

    /// <summary>CA_HEADER_*: extra metadata on CA calls.</summary>
    public ImmutableArray<KeyValuePair<string, string>> CaHeaders { get; init; } = [];

    /// <summary>XDS_HEADER_*: extra metadata on xDS streams.</summary>
    public ImmutableArray<KeyValuePair<string, string>> XdsHeaders { get; init; } = [];

    /// <summary>Where the workload's certificate lies when somebody else issues it (<see cref="FileMounted"/>); null: the CA issues it.</summary>
    public MountedFiles? Mounted { get; init; }

    /// <summary>Certificate and key shown to istiod where PROV_CERT is off and FILE_MOUNTED_CERTS is on (ISTIO_META_TLS_CLIENT_* of proxyMetadata); null: <see cref="Mounted"/>.</summary>
    public MountedFiles? ClientFiles { get; init; }

    /// <summary>An external SDS serves Envoy: no certificate is asked for here. Found at start, not configured.</summary>
    public bool IsExternal { get; init; }

    /// <summary>CREDENTIAL_FETCHER_TYPE: who writes the token file.</summary>
    public TokenSourceKind TokenSource { get; init; } = TokenSourceKind.File;

    /// <summary>CREDENTIAL_FETCHER_COMMAND: program and arguments that print a JWT, for <see cref="TokenSourceKind.Exec"/>.</summary>
    public ImmutableArray<string> TokenCommand { get; init; } = [];

    /// <summary>GCE_METADATA_HOST: host or host:port, for <see cref="TokenSourceKind.GoogleComputeEngine"/>.</summary>
    public string MetadataHost { get; init; } = "169.254.169.254";

    /// <summary>COMPLIANCE_POLICY: what TLS to istiod is limited to.</summary>
    public TlsCompliance Compliance { get; init; } = TlsCompliance.None;

    /// <summary>JWT_POLICY, for the start-up line.</summary>
    public string JwtPolicy { get; init; } = "third-party-jwt";

    /// <summary>Folder of the agent's own state (0700): the roots the operator provided are kept there when OUTPUT_CERTS would overwrite them; null: in memory only.</summary>
    public string? StateDirectory { get; init; }

    /// <summary>caCertificatesPem of the mesh file: extra trust anchors for peers.</summary>
    public ImmutableArray<string> ExtraRoots { get; init; } = [];

    /// <summary>VMSIDECAR_CLOCK_TOLERANCE: how far ahead of this clock a NotBefore may lie before it is a refusal (server) or a warning (own certificate).</summary>
    public TimeSpan ClockTolerance { get; init; } = TimeSpan.FromMinutes(5);

    public TimeSpan KeepAliveInterval { get; init; } = TimeSpan.FromSeconds(30);
    public TimeSpan KeepAliveTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The identity asked for, <c>spiffe://TD/ns/NS/sa/SA</c>, raw concatenation.</summary>
    public string SpiffeId => $"spiffe://{TrustDomain}/ns/{Namespace}/sa/{ServiceAccount}";
}

/// <summary>Who writes the token file (CREDENTIAL_FETCHER_TYPE).</summary>
internal enum TokenSourceKind
{
    /// <summary>An operator or a tool; the agent only reads it.</summary>
    File,

    /// <summary>The agent, with the output of a program.</summary>
    Exec,

    /// <summary>The agent, from the cloud's metadata server.</summary>
    GoogleComputeEngine,

    /// <summary>Nobody: the constant <c>test_token</c> is sent.</summary>
    Mock,
}

/// <summary>What TLS to istiod is limited to (COMPLIANCE_POLICY).</summary>
internal enum TlsCompliance
{
    /// <summary>TLS 1.2 and 1.3 by the policy of the host.</summary>
    None,

    /// <summary><c>fips-140-2</c>, <c>fips-140-3</c>: TLS 1.2 with ECDHE and AES-GCM.</summary>
    Fips,

    /// <summary><c>pqc</c>: TLS 1.3 with AES-GCM.</summary>
    PostQuantum,
}

/// <summary>Key algorithms of ECC_SIGNATURE_ALGORITHM / ECC_CURVE.</summary>
internal enum KeyAlgorithm
{
    Rsa,
    EcdsaP256,
    EcdsaP384,
}
