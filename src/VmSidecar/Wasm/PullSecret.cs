using System.Text;
using System.Text.Json;

namespace VmSidecar.Wasm;

/// <summary>Credentials from docker's configuration JSON, as an image pull secret holds them. Never logged, never in an error.</summary>
internal static class PullSecret
{
    /// <summary>
    /// What the secret has for a registry; nothing where it names other registries only, or is empty or <c>null</c>. Throws <see cref="ModuleException"/>
    /// with the fix, and without any content, where it cannot be read or holds what cannot be sent. Pure.
    /// </summary>
    public static RegistryCredentials For(string secret, string registry)
    {
        if (secret.Length == 0) { return RegistryCredentials.None; }
        try
        {
            using JsonDocument document = JsonDocument.Parse(secret);
            return Entry(document.RootElement, registry) is { } entry ? Credentials(entry) : RegistryCredentials.None;
        }
        catch (JsonException) // its text would quote the secret
        {
            throw Refusal(registry, "it is not docker's configuration JSON");
        }
        catch (FormatException e)
        {
            throw Refusal(registry, e.Message);
        }
    }

    private static ModuleException Refusal(string registry, string why) => new(ModuleFailure.Manifest,
        $"the WasmPlugin's imagePullSecret cannot be used for {registry}: {why}. Make it anew: kubectl create secret docker-registry NAME --docker-server={registry} --docker-username=USER --docker-password=PASSWORD");

    private static JsonElement? Entry(JsonElement root, string registry)
    {
        if (root.ValueKind == JsonValueKind.Null) { return null; } // as Istio writes it where there is no secret
        JsonElement auths = root.ValueKind == JsonValueKind.Object && root.TryGetProperty("auths", out JsonElement inner) ? inner : root;
        if (auths.ValueKind != JsonValueKind.Object) { throw new FormatException("it is not docker's configuration JSON"); }
        foreach (JsonProperty entry in auths.EnumerateObject())
        {
            if (!Names(entry.Name, registry)) { continue; }
            return entry.Value.ValueKind == JsonValueKind.Object ? entry.Value : throw new FormatException("its entry for this registry is no object");
        }
        return null;
    }

    // Keys are hosts, or addresses as docker writes them for its hub: https://index.docker.io/v1/.
    private static bool Names(string key, string registry)
    {
        string host = key.Contains("://", StringComparison.Ordinal) ? key[(key.IndexOf("://", StringComparison.Ordinal) + 3)..] : key;
        host = host.Split('/')[0];
        return host == registry || (registry == "registry-1.docker.io" && host is "index.docker.io" or "docker.io");
    }

    private static RegistryCredentials Credentials(JsonElement entry)
    {
        string auth = Text(entry, "auth"), user = Text(entry, "username"), token = Text(entry, "registrytoken");
        if (token.Length > 0 && !RegistryCredentials.IsHeaderToken(token)) { throw new FormatException("its registrytoken holds characters that no HTTP header may hold"); }
        string basic = auth.Length > 0 ? ReadyMade(auth) : user.Length > 0 ? Joined(user, Text(entry, "password")) : "";
        return new RegistryCredentials(basic, Text(entry, "identitytoken"), token);
    }

    private static string Text(JsonElement entry, string name)
    {
        if (!entry.TryGetProperty(name, out JsonElement value)) { return ""; }
        try
        {
            return value.GetString() ?? "";
        }
        catch (InvalidOperationException) // another kind of value, or half a surrogate pair
        {
            throw new FormatException($"its {name} is no text");
        }
    }

    private static string Joined(string user, string password)
    {
        if (user.Contains(':', StringComparison.Ordinal)) { throw new FormatException("its user name holds a colon, which RFC 7617 cannot carry"); }
        return Checked(Encoding.UTF8.GetBytes($"{user}:{password}"));
    }

    /// <summary>As docker reads it: line breaks in the base64 do not count, nor zeros at the password's end.</summary>
    private static string ReadyMade(string base64)
    {
        byte[] plain = new byte[base64.Length];
        if (!Convert.TryFromBase64String(base64, plain, out int length)) { throw new FormatException("its auth is no base64"); }
        return Checked(plain.AsSpan(0, length).TrimEnd((byte)0));
    }

    // A password may hold anything: key files with their line breaks serve as such.
    private static string Checked(ReadOnlySpan<byte> pair)
    {
        int colon = pair.IndexOf((byte)':');
        if (colon < 0) { throw new FormatException("its auth is not user:password"); }
        foreach (byte b in pair[..colon])
        {
            if (b is < 0x20 or 0x7F) { throw new FormatException("its user name holds a control character (a line break at its end?)"); }
        }
        return Convert.ToBase64String(pair);
    }
}
