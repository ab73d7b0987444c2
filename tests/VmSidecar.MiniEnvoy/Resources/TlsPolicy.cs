using System.Collections.Immutable;
using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;

using VmSidecar.EnvoyApi.Matching;
using VmSidecar.EnvoyApi.Tls;
using VmSidecar.MiniEnvoy.Traffic;

namespace VmSidecar.MiniEnvoy.Resources;

/// <summary>A CommonTlsContext joined to its secrets: makes the options of each handshake from the secrets of that moment and judges the peer.</summary>
internal sealed class TlsPolicy
{
    private const int Tls12 = 3; // number of TLSv1_2 in TlsParameters

    private readonly SecretEntry? _own;
    private readonly SecretEntry? _trust;
    private readonly ImmutableArray<StringMatcher> _peers;
    private readonly ImmutableArray<string> _alpn;
    private readonly SslProtocols _protocols;

    public TlsPolicy(CommonTlsContext context, SecretStore secrets)
    {
        if (context.TlsCertificates.Count > 0 || context.ValidationContextTypeCase == CommonTlsContext.ValidationContextTypeOneofCase.ValidationContext)
        {
            throw new RejectedException("certificates within a TLS context are not served by this data plane; name SDS secrets");
        }
        _own = context.TlsCertificateSdsSecretConfigs.FirstOrDefault() is { } own ? secrets.Get(own) : null;
        _trust = (context.CombinedValidationContext?.ValidationContextSdsSecretConfig ?? context.ValidationContextSdsSecretConfig) is { } trust ? secrets.Get(trust) : null;
        CertificateValidationContext? rules = context.CombinedValidationContext?.DefaultValidationContext;
        _peers = rules is null ? [] : [.. rules.MatchSubjectAltNames, .. rules.MatchTypedSubjectAltNames.Select(m => m.Matcher)];
        _alpn = [.. context.AlpnProtocols];
        _protocols = (int?)context.TlsParams?.TlsMinimumProtocolVersion > Tls12 ? SslProtocols.Tls13 : SslProtocols.Tls12 | SslProtocols.Tls13;
    }

    public string Sni { get; init; } = "";

    public bool RequireClient { get; init; }

    public bool IsReady => (_own?.IsReady ?? true) && (_trust?.IsReady ?? true);

    public string OwnIdentity => _own?.Certificate is { } own ? PeerIdentity.UrisOf(own.TargetCertificate).FirstOrDefault("") : "";

    public SslClientAuthenticationOptions Client(IReadOnlyList<string>? alpn = null) => new()
    {
        TargetHost = Sni,
        EnabledSslProtocols = _protocols,
        ClientCertificateContext = _own?.Certificate,
        ApplicationProtocols = [.. (alpn ?? _alpn).Select(a => new SslApplicationProtocol(a))],
        AllowTlsResume = false, // every connection is judged by the secrets of now
        RemoteCertificateValidationCallback = (_, certificate, chain, _) => IsTrusted(certificate, chain),
    };

    /// <summary><paramref name="offered"/> is the client's ALPN list. Without a common protocol none is selected and the handshake goes on, as BoringSSL does it.</summary>
    public SslServerAuthenticationOptions Server(IReadOnlyList<string> offered)
    {
        string? chosen = _alpn.FirstOrDefault(offered.Contains);
        return new SslServerAuthenticationOptions
        {
            EnabledSslProtocols = _protocols,
            ServerCertificateContext = _own?.Certificate,
            ClientCertificateRequired = RequireClient,
            ApplicationProtocols = chosen is null ? null : [new SslApplicationProtocol(chosen)],
            AllowTlsResume = false,
            RemoteCertificateValidationCallback = (_, certificate, chain, _) => (certificate is null && !RequireClient) || IsTrusted(certificate, chain),
        };
    }

    /// <summary>By the mesh roots alone, and one of the peer's names must match where the policy names any.</summary>
    private bool IsTrusted(X509Certificate? certificate, X509Chain? sent)
    {
        if (certificate is not X509Certificate2 leaf || _trust?.Roots is not { } roots) { return false; }
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.DisableCertificateDownloads = true;
        chain.ChainPolicy.CustomTrustStore.AddRange(roots);
        if (sent is not null) { chain.ChainPolicy.ExtraStore.AddRange((X509Certificate2[])[.. sent.ChainPolicy.ExtraStore, .. sent.ChainElements.Skip(1).Select(e => e.Certificate)]); }
        return chain.Build(leaf) && (_peers.IsEmpty || PeerIdentity.NamesOf(leaf).Any(n => _peers.Any(p => Matches(p, n))));
    }

    private static bool Matches(StringMatcher matcher, string name) => matcher.MatchPatternCase switch
    {
        StringMatcher.MatchPatternOneofCase.Exact => name == matcher.Exact,
        StringMatcher.MatchPatternOneofCase.Prefix => name.StartsWith(matcher.Prefix, StringComparison.Ordinal),
        StringMatcher.MatchPatternOneofCase.Suffix => name.EndsWith(matcher.Suffix, StringComparison.Ordinal),
        StringMatcher.MatchPatternOneofCase.Contains => name.Contains(matcher.Contains, StringComparison.Ordinal),
        StringMatcher.MatchPatternOneofCase.SafeRegex => System.Text.RegularExpressions.Regex.IsMatch(name, $"^(?:{matcher.SafeRegex.Regex})$"),
        _ => false,
    };
}
