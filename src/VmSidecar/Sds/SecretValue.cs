namespace VmSidecar.Sds;

/// <summary>The content of one SDS resource, without its name: either a chain with its key, or trust anchors. Equal content is equal, so an unchanged value is never pushed. Never logged.</summary>
internal sealed record SecretValue(string? ChainPem, string? KeyPem, string? RootsPem, DateTimeOffset? NotAfter = null)
{
    /// <summary>A certificate with its key.</summary>
    public static SecretValue Certificate(string chainPem, string keyPem, DateTimeOffset? notAfter) => new(chainPem, keyPem, null, notAfter);

    /// <summary>Trust anchors.</summary>
    public static SecretValue Anchors(string rootsPem, DateTimeOffset? leafNotAfter) => new(null, null, rootsPem, leafNotAfter);

    /// <summary>True when both are the same for a client. The date is for the log only.</summary>
    public bool SameContent(SecretValue? other) => other is not null && other.ChainPem == ChainPem && other.KeyPem == KeyPem && other.RootsPem == RootsPem;

    public override string ToString() => RootsPem is null ? "certificate" : "trust anchors";
}
