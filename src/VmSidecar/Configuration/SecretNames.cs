namespace VmSidecar.Configuration;

/// <summary>Decides by name which values are never shown in output or errors.</summary>
internal static class SecretNames
{
    private static readonly string[] s_parts = ["TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL", "PRIVATE", "HEADER_", "APIKEY", "API_KEY", "SECRET"];
    private static readonly string[] s_harmless = ["SECRET_TTL", "SECRET_GRACE_PERIOD_RATIO", "SECRET_GRACE_PERIOD_RATIO_JITTER", "CREDENTIAL_FETCHER_TYPE", "CREDENTIAL_IDENTITY_PROVIDER", "--tokenManagerPlugin", "token file"];

    public static bool IsSecret(string name) =>
        !s_harmless.Contains(name) && s_parts.Any(part => name.Contains(part, StringComparison.OrdinalIgnoreCase));
}
