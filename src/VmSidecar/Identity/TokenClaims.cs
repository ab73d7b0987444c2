using System.Buffers.Text;
using System.Collections.Immutable;
using System.Text.Json;

namespace VmSidecar.Identity;

/// <summary>What a service-account token says about itself, read without checking its signature: istiod never tells why it refused, so the agent reads it (RFC 7519 §4.1).</summary>
internal sealed record TokenClaims(DateTimeOffset? NotBefore, DateTimeOffset? Expires, ImmutableArray<string> Audiences, string Issuer, string Subject)
{
    private const string AccountPrefix = "system:serviceaccount:";

    /// <summary><c>(namespace, account)</c> of the subject; null when it is no service account.</summary>
    public (string Namespace, string Account)? Workload =>
        Subject.StartsWith(AccountPrefix, StringComparison.Ordinal) && Subject[AccountPrefix.Length..].Split(':') is [var ns, var account] ? (ns, account) : null;

    /// <summary>False when the text is no JWT with a JSON object inside.</summary>
    public static bool TryParse(string token, [NotNullWhen(true)] out TokenClaims? claims)
    {
        claims = null;
        string[] parts = token.Split('.');
        if (parts.Length != 3 || parts[1].Length == 0 || !Base64Url.IsValid(parts[1])) { return false; }
        try
        {
            using JsonDocument json = JsonDocument.Parse(Base64Url.DecodeFromChars(parts[1]));
            JsonElement root = json.RootElement;
            if (root.ValueKind != JsonValueKind.Object) { return false; }
            claims = new TokenClaims(Time(root, "nbf"), Time(root, "exp"), Audience(root), Text(root, "iss"), Text(root, "sub"));
            return true;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException) { return false; } // the latter: text that is not UTF-8 or UTF-16
    }

    private static DateTimeOffset? Time(JsonElement root, string name) =>
        root.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double seconds)
        && seconds is > -62135596800 and < 253402300799
            ? DateTimeOffset.FromUnixTimeSeconds((long)seconds)
            : null;

    private static string Text(JsonElement root, string name) =>
        root.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString()! : "";

    private static ImmutableArray<string> Audience(JsonElement root)
    {
        if (!root.TryGetProperty("aud", out JsonElement value)) { return []; }
        return value.ValueKind switch
        {
            JsonValueKind.String => [value.GetString()!],
            JsonValueKind.Array => [.. value.EnumerateArray().Where(a => a.ValueKind == JsonValueKind.String).Select(a => a.GetString()!)],
            _ => [],
        };
    }
}
