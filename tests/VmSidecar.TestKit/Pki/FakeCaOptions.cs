namespace VmSidecar.TestKit.Pki;

/// <summary>How a <see cref="FakeCa"/> is built and signs. Defaults: self-signed, the newer istiod's layout and back-dating.</summary>
internal sealed record FakeCaOptions
{
    /// <summary>The only trust domain it issues for and accepts.</summary>
    public string TrustDomain { get; init; } = "cluster.local";

    /// <summary>Intermediate certificates between root and leaf, 0 to 2.</summary>
    public int Intermediates { get; init; }

    /// <summary>How far NotBefore lies in the past: istiod 1.10 one second, 1.31 two minutes. Negative: in the future.</summary>
    public TimeSpan BackDate { get; init; } = TimeSpan.FromSeconds(120);

    /// <summary>True: the layout of 1.10, all intermediates in one element of the chain.</summary>
    public bool JoinIntermediates { get; init; }

    /// <summary>Larger requested lifetimes are refused (MAX_WORKLOAD_CERT_TTL).</summary>
    public TimeSpan MaxTtl { get; init; } = TimeSpan.FromHours(2160);

    /// <summary>Lifetime when the request names none (DEFAULT_WORKLOAD_CERT_TTL).</summary>
    public TimeSpan DefaultTtl { get; init; } = TimeSpan.FromHours(24);

    /// <summary>Overrides every requested lifetime, for short-lived certificates in tests; null: as asked.</summary>
    public TimeSpan? ForcedTtl { get; init; }
}
