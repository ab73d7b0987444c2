using System.Globalization;

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
/// <param name="Advice">Why, and what to do; while all is well, what will go wrong if nobody acts. Empty: nothing.</param>
internal sealed record IdentityStatus(
    IdentityCondition Condition, DateTimeOffset? CertificateUntil, DateTimeOffset? TokenUntil, DateTimeOffset? LastSuccess, int Failures, string LastError, string Advice)
{
    /// <summary>Who issues the certificate: <c>istiod</c>, <c>files</c> or <c>external SDS</c>.</summary>
    public string Source { get; init; } = "istiod";

    /// <summary>What an operator must know, in one line for <c>systemctl status</c>; empty while nothing is wrong and nothing will be.</summary>
    public string Trouble
    {
        get
        {
            string why = Advice.Length > 0 ? Advice : LastError;
            string until = CertificateUntil is { } end ? end.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture) : "";
            return Condition switch
            {
                IdentityCondition.None => $"no workload certificate: {why}",
                IdentityCondition.Lapsing => $"the workload certificate ends at {until} and is not renewed: {why}",
                IdentityCondition.Lapsed => $"the workload certificate has ended at {until}: {why}",
                _ => Failures > 0 ? $"renewal fails, the workload certificate is good until {until}: {why}" : why,
            };
        }
    }
}
