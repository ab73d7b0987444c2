using System.Text;
using System.Text.Json;

namespace VmSidecar.Wasm;

/// <summary>Credentials from docker's configuration JSON, as an image pull secret holds them. Never logged, never in an error.</summary>
internal static class PullSecret
{
    /// <summary>The value of a Basic authorization header for a registry; empty when the secret has none or is not readable.</summary>
    public static string BasicFor(string secret, string registry)
    {
        if (secret.Length == 0) { return ""; }
        try
        {
            using JsonDocument document = JsonDocument.Parse(secret);
            JsonElement auths = document.RootElement.TryGetProperty("auths", out JsonElement inner) ? inner : document.RootElement;
            if (auths.ValueKind != JsonValueKind.Object) { return ""; }
            foreach (JsonProperty entry in auths.EnumerateObject())
            {
                if (Names(entry.Name, registry) && entry.Value.ValueKind == JsonValueKind.Object) { return BasicOf(entry.Value); }
            }
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return ""; // what is broken gives no credentials; the registry says so
        }
        return "";
    }

    // Keys are hosts, or addresses as docker writes them for its hub: https://index.docker.io/v1/.
    private static bool Names(string key, string registry)
    {
        string host = key.Contains("://", StringComparison.Ordinal) ? key[(key.IndexOf("://", StringComparison.Ordinal) + 3)..] : key;
        host = host.Split('/')[0];
        return host == registry || (registry == "registry-1.docker.io" && host is "index.docker.io" or "docker.io");
    }

    private static string BasicOf(JsonElement entry)
    {
        if (entry.TryGetProperty("auth", out JsonElement auth) && auth.GetString() is { Length: > 0 } ready) { return InOneLine(ready); }
        string user = entry.TryGetProperty("username", out JsonElement name) ? name.GetString() ?? "" : "";
        string password = entry.TryGetProperty("password", out JsonElement word) ? word.GetString() ?? "" : "";
        return user.Length == 0 ? "" : Convert.ToBase64String(Encoding.UTF8.GetBytes($"{user}:{password}"));
    }

    /// <summary>As docker reads it: line breaks do not count, and what is no base64 is no credentials.</summary>
    private static string InOneLine(string base64)
    {
        byte[] plain = new byte[base64.Length];
        return Convert.TryFromBase64String(base64, plain, out int length) ? Convert.ToBase64String(plain.AsSpan(0, length)) : "";
    }
}
