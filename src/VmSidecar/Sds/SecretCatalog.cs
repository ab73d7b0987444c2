using VmSidecar.Configuration;
using VmSidecar.Identity;
using VmSidecar.Lifecycle;

namespace VmSidecar.Sds;

/// <summary>Which resource names exist and what stands behind each. A name it does not know is refused: the classic agent answers any name with the workload's key.</summary>
internal sealed class SecretCatalog(SdsOptions options, Published<WorkloadSecrets> secrets, Published<IdentityStatus> status, SecretFiles files, CrlWatch crl)
{
    public const string Certificate = "default";
    public const string Anchors = "ROOTCA";

    private readonly WorkloadFeed _certificate = new(secrets, status, roots: false);
    private readonly WorkloadFeed _anchors = new(secrets, status, roots: true);

    /// <summary>The CRL to name in every set of anchors.</summary>
    public CrlState Crl => crl.Current;

    /// <summary>Ends when <see cref="Crl"/> is another.</summary>
    public Task CrlChanged() => crl.Changed();

    /// <summary>What Envoy is to use private keys through; null: nothing.</summary>
    public KeyProviderOptions? KeyProvider => options.KeyProvider;

    /// <summary>False when the name means nothing here.</summary>
    public bool TryOpen(string name, [NotNullWhen(true)] out ISecretFeed? feed)
    {
        feed = name switch
        {
            Certificate when options.ServesWorkload => _certificate,
            Anchors when options.ServesWorkload => _anchors,
            _ => null,
        };
        return feed is not null || files.TryOpen(name, out feed);
    }
}
