namespace VmSidecar.TestKit.Istiod.Authentication;

/// <summary>Who the caller is, as SPIFFE names, and what proved it.</summary>
internal sealed record Caller(IReadOnlyList<string> SpiffeIds, CredentialKind By)
{
    /// <summary>The name certificates are issued for.</summary>
    public string Primary => SpiffeIds[0];
}

/// <summary>What proved an identity.</summary>
internal enum CredentialKind
{
    Certificate,
    Token,
}
