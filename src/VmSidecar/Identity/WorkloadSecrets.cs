namespace VmSidecar.Identity;

/// <summary>One checked set of workload identity: what SDS serves and what is written to disk. Immutable; published by CertificateRotator.</summary>
/// <param name="ChainPem">Leaf first, then intermediates and root, as the CA sent them.</param>
/// <param name="KeyPem">Private key of the leaf. Never logged.</param>
/// <param name="RootsPem">Trust anchors for peers (merged).</param>
/// <param name="NotBefore">Of the leaf.</param>
/// <param name="NotAfter">Of the leaf.</param>
/// <param name="Created">Local time of issue.</param>
/// <param name="Serial">Hex serial of the leaf, for logs and status.</param>
internal sealed record WorkloadSecrets(
    string ChainPem, string KeyPem, string RootsPem, DateTimeOffset NotBefore, DateTimeOffset NotAfter, DateTimeOffset Created, string Serial)
{
    public override string ToString() => $"certificate {Serial} until {NotAfter:O}";
}
