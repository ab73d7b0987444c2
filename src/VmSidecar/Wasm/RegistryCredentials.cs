namespace VmSidecar.Wasm;

/// <summary>What an image pull secret has for one registry. Each is empty where it has none; each can stand in a header or a form as it is. Never logged.</summary>
/// <param name="Basic">Base64 of <c>user:password</c> (RFC 7617).</param>
/// <param name="IdentityToken">A refresh token (OAuth 2), exchanged for a token at the registry's realm: any text.</param>
/// <param name="RegistryToken">A bearer token for the registry itself (RFC 6750).</param>
internal sealed record RegistryCredentials(string Basic, string IdentityToken, string RegistryToken)
{
    /// <summary>Whoever has these is anybody.</summary>
    public static RegistryCredentials None { get; } = new("", "", "");

    /// <summary>True for what a header may hold as a token: visible ASCII, at least one character.</summary>
    public static bool IsHeaderToken(string token) => token.Length > 0 && token.All(c => c is > ' ' and <= '~');
}
