using System.Net.Http.Headers;
using System.Text.Json;

namespace VmSidecar.Wasm;

/// <summary>
/// Answers a registry's challenge (RFC 9110 section 11) with the pull secret or as anybody: Basic, or a bearer token from the realm it names (token
/// authentication specification of the distribution project; OAuth 2 for identity tokens). One per fetch. <paramref name="mayBePlain"/>: whether an
/// address may be asked without TLS.
/// </summary>
internal sealed class RegistryAuthorization(ModuleHttp http, string registry, string pullSecret, Func<Uri, bool> mayBePlain)
{
    private const int LargestToken = 1024 * 1024; // no registry's is a hundredth of it

    /// <summary>The header to ask again with; null: none. Throws <see cref="ModuleException"/> for a secret, a realm or a token that cannot be used.</summary>
    public async Task<AuthenticationHeaderValue?> AnswerAsync(AuthenticationHeaderValue[] challenges, CancellationToken stop)
    {
        RegistryCredentials credentials = PullSecret.For(pullSecret, registry);
        if (credentials.RegistryToken.Length > 0) { return new AuthenticationHeaderValue("Bearer", credentials.RegistryToken); }
        if (Array.Find(challenges, c => c.Scheme.Equals("Bearer", StringComparison.OrdinalIgnoreCase)) is not { } bearer) { return Basic(credentials); }
        Dictionary<string, string> asked = Parameters(bearer.Parameter ?? "");
        if (!asked.Remove("realm", out string? realm) || !Uri.TryCreate(realm, UriKind.Absolute, out Uri? where) || where.Scheme is not ("https" or "http") || (where.Scheme == "http" && !mayBePlain(where)))
        {
            throw new ModuleException(ModuleFailure.Manifest, $"{registry} names no usable realm for its tokens: it must be an https address");
        }
        List<KeyValuePair<string, string>> scope = [.. asked.Where(p => p.Key.ToUpperInvariant() is "SERVICE" or "SCOPE")];
        using HttpResponseMessage response = await http.SendAsync(credentials.IdentityToken.Length > 0
            ? () => Exchange(where, scope, credentials.IdentityToken)
            : () => Question(where, scope, credentials), stop);
        if (!response.IsSuccessStatusCode) { throw new ModuleException(ModuleFailure.Manifest, $"{where.Authority} answers {ModuleHttp.Answer(response)} when asked for a token"); }
        string token = Token(await ModuleHttp.ReadAsync(response, LargestToken, $"the token of {where.Authority}", stop));
        return RegistryCredentials.IsHeaderToken(token)
            ? new AuthenticationHeaderValue("Bearer", token)
            : throw new ModuleException(ModuleFailure.Manifest, $"{where.Authority} gives no token that can be used; see whether {registry} sends the right realm");
    }

    /// <summary>What a challenge asks for (RFC 9110 §11.2): <c>name="value"</c> or <c>name=value</c>, separated by commas; quoted values hold commas too (scope). Pure.</summary>
    internal static Dictionary<string, string> Parameters(string text)
    {
        var found = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        for (int at = 0; at < text.Length;)
        {
            int equals = text.IndexOf('=', at);
            if (equals < 0) { break; }
            string name = text[at..equals].Trim(' ', '\t', ',');
            int begin = equals + 1;
            while (begin < text.Length && text[begin] is ' ' or '\t') { begin++; }
            bool isQuoted = begin < text.Length && text[begin] == '"';
            int end = isQuoted ? text.IndexOf('"', begin + 1) : text.IndexOf(',', begin);
            if (end < 0 && isQuoted) { break; }
            if (end < 0) { end = text.Length; }
            found[name] = isQuoted ? text[(begin + 1)..end] : text[begin..end].TrimEnd(' ', '\t');
            at = end + 1;
        }
        return found;
    }

    /// <summary>The token in an answer of a realm; empty where there is none. Pure.</summary>
    internal static string Token(byte[] answer)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(answer);
            string token = Named(document.RootElement, "token");
            return token.Length > 0 ? token : Named(document.RootElement, "access_token");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return "";
        }
    }

    private static string Named(JsonElement answer, string name) => answer.TryGetProperty(name, out JsonElement value) ? value.GetString() ?? "" : "";

    private static AuthenticationHeaderValue? Basic(RegistryCredentials credentials) =>
        credentials.Basic.Length == 0 ? null : new AuthenticationHeaderValue("Basic", credentials.Basic);

    private static HttpRequestMessage Question(Uri where, List<KeyValuePair<string, string>> scope, RegistryCredentials credentials)
    {
        string query = string.Join('&', scope.Select(p => $"{p.Key}={Uri.EscapeDataString(p.Value)}"));
        var address = new UriBuilder(where) { Fragment = "", Query = where.Query.Length > 1 ? $"{where.Query}&{query}" : query };
        return new HttpRequestMessage(HttpMethod.Get, address.Uri) { Headers = { Authorization = Basic(credentials) } };
    }

    private static HttpRequestMessage Exchange(Uri where, List<KeyValuePair<string, string>> scope, string identity) => new(HttpMethod.Post, where)
    {
        Content = new FormUrlEncodedContent([.. scope, new("grant_type", "refresh_token"), new("refresh_token", identity), new("client_id", "vmsidecar")]),
    };
}
