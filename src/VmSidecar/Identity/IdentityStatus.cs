namespace VmSidecar.Identity;

/// <summary>How the identity of this VM stands, in order of alarm.</summary>
internal enum IdentityCondition
{
    /// <summary>A certificate is held and renewal works, or is not due yet.</summary>
    Good,

    /// <summary>Just started; the first request is under way.</summary>
    Waiting,

    /// <summary>No certificate yet, and istiod has failed or refused.</summary>
    None,

    /// <summary>Renewal fails and less than a quarter of the lifetime is left.</summary>
    Lapsing,

    /// <summary>The certificate has expired.</summary>
    Lapsed,
}

/// <summary>What an operator asks about the identity. Published by CertificateRotator; read by the status server, sd_notify and SDS sessions. Immutable.</summary>
/// <param name="Condition">How it stands.</param>
/// <param name="CertificateUntil">End of the certificate served; null: none.</param>
/// <param name="TokenUntil">End of the token on disk; null: none or unreadable.</param>
/// <param name="LastSuccess">Local time of the last issue.</param>
/// <param name="Failures">Operations failed in a row.</param>
/// <param name="LastError">The status of the last failure, as the classic agent words it; empty: none.</param>
/// <param name="Advice">Why, and what to do; empty: nothing.</param>
internal sealed record IdentityStatus(
    IdentityCondition Condition, DateTimeOffset? CertificateUntil, DateTimeOffset? TokenUntil, DateTimeOffset? LastSuccess, int Failures, string LastError, string Advice);
