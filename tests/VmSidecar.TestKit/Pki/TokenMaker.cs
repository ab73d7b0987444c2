using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace VmSidecar.TestKit.Pki;

/// <summary>Makes and judges service-account tokens (JWT, RS256 or ES256) like a Kubernetes API server. One instance is one cluster's signing key.</summary>
internal sealed class TokenMaker : IDisposable
{
    private readonly RSA? _rsa;
    private readonly ECDsa? _ec;

    private readonly TimeProvider _time;

    /// <param name="time">The API server's clock.</param>
    /// <param name="rsa">True: RS256 as a real cluster; false: ES256, faster.</param>
    public TokenMaker(TimeProvider time, bool rsa = false)
    {
        _time = time;
        if (rsa) { _rsa = RSA.Create(2048); }
        else { _ec = ECDsa.Create(ECCurve.NamedCurves.nistP256); }
    }

    /// <summary>The issuer put in and demanded.</summary>
    public string Issuer { get; init; } = "https://kubernetes.default.svc.cluster.local";

    /// <summary>A token of <paramref name="account"/> in <paramref name="ns"/>; every claim can be made wrong.</summary>
    public string Make(
        string ns, string account, TimeSpan? lifetime = null, string audience = "istio-ca", DateTimeOffset? notBefore = null, string? issuer = null, string? subject = null)
    {
        DateTimeOffset now = _time.GetUtcNow();
        var claims = new JsonObject
        {
            ["iss"] = issuer ?? Issuer,
            ["sub"] = subject ?? $"system:serviceaccount:{ns}:{account}",
            ["iat"] = now.ToUnixTimeSeconds(),
            ["nbf"] = (notBefore ?? now).ToUnixTimeSeconds(),
            ["exp"] = ((notBefore ?? now) + (lifetime ?? TimeSpan.FromHours(1))).ToUnixTimeSeconds(),
            ["kubernetes.io"] = new JsonObject { ["namespace"] = ns, ["serviceaccount"] = new JsonObject { ["name"] = account, ["uid"] = "0" } },
        };
        if (audience.Length > 0) { claims["aud"] = new JsonArray(audience); }
        return Sign(claims.ToJsonString());
    }

    /// <summary>Signs any claims text.</summary>
    public string Sign(string claims)
    {
        string head = _rsa is null ? """{"alg":"ES256","kid":"k1","typ":"JWT"}""" : """{"alg":"RS256","kid":"k1","typ":"JWT"}""";
        string body = Encode(Encoding.UTF8.GetBytes(head)) + "." + Encode(Encoding.UTF8.GetBytes(claims));
        byte[] bytes = Encoding.ASCII.GetBytes(body);
        byte[] signature = _rsa?.SignData(bytes, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1) ?? _ec!.SignData(bytes, HashAlgorithmName.SHA256);
        return body + "." + Encode(signature);
    }

    /// <summary>What a TokenReview says: <c>namespace/account</c>, or null and the reason (which istiod never passes on).</summary>
    public string? Review(string token, string audience, out string reason)
    {
        reason = "not a JWT";
        string[] parts = token.Split('.');
        if (parts.Length != 3 || !TryDecode(parts[1], out byte[] body) || !TryDecode(parts[2], out byte[] signature)) { return null; }
        byte[] signed = Encoding.ASCII.GetBytes(parts[0] + "." + parts[1]);
        bool good = _rsa?.VerifyData(signed, signature, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1) ?? _ec!.VerifyData(signed, signature, HashAlgorithmName.SHA256);
        if (!good) { reason = "bad signature"; return null; }
        JsonObject claims;
        try { claims = JsonNode.Parse(body)!.AsObject(); }
        catch (JsonException) { return null; }
        long now = _time.GetUtcNow().ToUnixTimeSeconds();
        reason = (string?)claims["iss"] != Issuer ? "wrong issuer"
            : now >= ((long?)claims["exp"] ?? 0) ? "expired"
            : now < ((long?)claims["nbf"] ?? 0) ? "not yet valid"
            : claims["aud"] is JsonArray list && !list.Any(a => (string?)a == audience) ? "wrong audience"
            : claims["aud"] is null ? "no audience"
            : (string?)claims["sub"] is not { } sub || !sub.StartsWith("system:serviceaccount:", StringComparison.Ordinal) ? "not a service account"
            : "";
        string[] subject = ((string?)claims["sub"] ?? "").Split(':');
        return reason.Length == 0 && subject.Length == 4 ? $"{subject[2]}/{subject[3]}" : null;
    }

    public void Dispose()
    {
        _rsa?.Dispose();
        _ec?.Dispose();
    }

    private static string Encode(byte[] bytes) => Convert.ToBase64String(bytes).TrimEnd('=').Replace('+', '-').Replace('/', '_');

    private static bool TryDecode(string text, out byte[] bytes)
    {
        string padded = text.TrimEnd('=').Replace('-', '+').Replace('_', '/');
        bytes = new byte[padded.Length];
        bool good = Convert.TryFromBase64String(padded.PadRight((padded.Length + 3) / 4 * 4, '='), bytes, out int written);
        Array.Resize(ref bytes, good ? written : 0);
        return good;
    }
}
