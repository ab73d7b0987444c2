using System.Collections.Immutable;
using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;

using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Grpc;

namespace VmSidecar.Identity;

/// <summary>
/// How this VM reaches and convinces istiod, for CA calls and xDS streams. Roots, certificate and token are read from disk for each new
/// connection, so nothing needs a restart. No credential leaves before the peer's name is verified: the certificate follows in the same
/// handshake, the token only in a call on the finished connection. One instance per process, thread-safe.
/// </summary>
internal sealed partial class IstiodAccess : IIstiodAccess
{
    private readonly IdentityOptions _identity;
    private readonly XdsOptions _xds;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly ProvidedRoots _provided;
    private volatile string? _refused;
    private volatile string? _presented;
    private volatile string? _told;
    private long _offset = long.MinValue;

    public IstiodAccess(IdentityOptions identity, XdsOptions xds, TimeProvider time, ILoggerFactory logs)
    {
        _identity = identity;
        _xds = xds;
        _time = time;
        _log = logs.CreateLogger("citadelclient");
        Token = new TokenFile(identity, logs.CreateLogger("default"));
        _provided = new ProvidedRoots(identity);
    }

    /// <summary>The token of this VM.</summary>
    public TokenFile Token { get; }

    /// <summary>What has been told of refusals, by CA calls and streams together.</summary>
    public RefusalNews News { get; } = new();

    public bool Tell(string explanation) => News.Tell(explanation);

    /// <summary>Roots an operator put where OUTPUT_CERTS writes; the writer of certificates tells it what is its own.</summary>
    public ProvidedRoots Provided => _provided;

    public GrpcChannelOptions XdsChannel() => Channel(
        _xds.DiscoveryAddress, _xds.Plaintext, ServerName(_xds.ServerName, _xds.DiscoveryAddress), _identity.XdsRootFile) with { MaxReceive = _xds.MaxMessage };

    /// <summary>Options of a new channel to the CA.</summary>
    public GrpcChannelOptions CaChannel() => Channel(
        _identity.CaAddress, _identity.CaPlaintext, ServerName(_identity.CaServerName, _identity.CaAddress), _identity.CaRootFile);

    public IReadOnlyList<KeyValuePair<string, string>> XdsMetadata() => Metadata(_xds.Plaintext, _identity.XdsHeaders);

    /// <summary>Metadata of a CA call, read anew for each attempt.</summary>
    public IReadOnlyList<KeyValuePair<string, string>> CaMetadata() => Metadata(_identity.CaPlaintext, _identity.CaHeaders);

    public string ExplainRefusal(GrpcStatus status)
    {
        using CertificatePair? pair = LoadPair(out _, out string reason);
        string? token = Token.Read(out string? tokenFile);
        return RefusalDoctor.Explain(status, new RefusalEvidence(_identity, pair, reason, token, tokenFile, _time.GetUtcNow()) { ClockOffset = MeasuredOffset ?? TimeSpan.Zero });
    }

    /// <summary>
    /// A connection that presented the certificate died before any answer. With TLS 1.3 that is how a refused certificate shows
    /// (RFC 8446 §4.4.2.4: the alert comes after the client's side is done), so the next connection tries the token, the one after that the certificate again.
    /// </summary>
    public void NoteLostConnection() => _refused = _presented;

    /// <summary>A call was answered: what was presented is good.</summary>
    public void NoteAnswered()
    {
        if (_presented is not null && _refused == _presented) { _refused = null; }
        News.Over();
    }

    /// <summary>How far this clock is ahead of the server's by the latest Date header; null: none came.</summary>
    public TimeSpan? MeasuredOffset => Interlocked.Read(ref _offset) is var ticks and not long.MinValue ? TimeSpan.FromTicks(ticks) : null;

    /// <summary>True when the latest connection presented a certificate.</summary>
    public bool HasPresented => _presented is not null;

    /// <summary>The pair of PROV_CERT as it lies on disk; null when there is none that can be used. Caller disposes.</summary>
    public CertificatePair? LoadPair(out PairProblem problem, out string reason)
    {
        problem = PairProblem.Missing;
        reason = "PROV_CERT is not set";
        MountedFiles? files = _identity.ProvisionedDirectory is { } folder ? MountedFiles.In(folder) : _identity.ClientFiles ?? _identity.Mounted;
        return files is null ? null : CertificatePair.Load(files.Chain, files.Key, out problem, out reason);
    }

    /// <summary>Anchors for a root file as of now, with what the operator had put there before OUTPUT_CERTS replaced it. Null and the reason when there are none.</summary>
    public TrustAnchors? LoadAnchors(string? rootFile, out string problem) =>
        TrustAnchors.Load(rootFile, _provided.For(rootFile), _identity.ClockTolerance, out problem);

    private GrpcChannelOptions Channel(string address, bool plaintext, string name, string? rootFile) =>
        GrpcChannelOptions.For(address, plaintext ? null : () => Tls(name, rootFile), name) with
        {
            KeepAliveInterval = _identity.KeepAliveInterval,
            KeepAliveTimeout = _identity.KeepAliveTimeout,
            OnDate = date => Interlocked.Exchange(ref _offset, ClockOffset.Measured(date, _time.GetUtcNow()).Ticks),
        };

    private SslClientAuthenticationOptions Tls(string name, string? rootFile)
    {
        TrustAnchors anchors = LoadAnchors(rootFile, out string problem) ?? throw new AuthenticationException($"missing a root certificate: {problem}");
        return new SslClientAuthenticationOptions
        {
            TargetHost = name,
            EnabledSslProtocols = CompliancePolicy.Protocols(_identity.Compliance),
            CipherSuitesPolicy = CompliancePolicy.Suites(_identity.Compliance),
            CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
            ApplicationProtocols = [SslApplicationProtocol.Http2],
            AllowTlsResume = false, // a resumed session would keep the identity of the old certificate
            ClientCertificateContext = ClientContext(),
            RemoteCertificateValidationCallback = (_, certificate, chain, _) => Verify(anchors, certificate as X509Certificate2, chain, name),
        };
    }

    private bool Verify(TrustAnchors anchors, X509Certificate2? server, X509Chain? chain, string name)
    {
        if (server is null) { throw new AuthenticationException("istiod sent no certificate"); }
        string? problem = anchors.Refuse(server, chain?.ChainPolicy.ExtraStore ?? [], name, _time.GetUtcNow());
        return problem is null ? true : throw new AuthenticationException($"istiod is not trusted: {problem}");
    }

    private SslStreamCertificateContext? ClientContext()
    {
        using CertificatePair? pair = LoadPair(out PairProblem problem, out string reason);
        TokenQuality token = CredentialPolicy.Judge(Token.Read(), _time.GetUtcNow());
        string? withheld = CredentialPolicy.Withhold(new PairOnDisk(pair, problem, reason), _identity.SpiffeId, _refused, token, _time.GetUtcNow());
        if (withheld is not null && pair is not null && _refused == pair.Thumbprint) { _refused = null; } // alternate: the next connection tries it again
        _presented = withheld is null ? pair!.Thumbprint : null;
        if (withheld != _told && _identity.ProvisionedDirectory is not null && withheld is not null) { Withheld(_log, withheld); }
        _told = withheld;
        if (withheld is not null) { return null; }
        // The whole file is the chain (a leaf alone fails with an intermediate CA); offline: nothing is fetched to complete it.
        return SslStreamCertificateContext.Create(pair!.WithKey(), [.. pair.Chain.Skip(1).Select(c => X509CertificateLoader.LoadCertificate(c.RawData))], offline: true);
    }

    private List<KeyValuePair<string, string>> Metadata(bool plaintext, ImmutableArray<KeyValuePair<string, string>> extra)
    {
        List<KeyValuePair<string, string>> all = [new("clusterid", _identity.ClusterId)];
        if (!plaintext && Token.Read() is { } token) { all.Add(new("authorization", "Bearer " + token)); } // never in plain text
        all.AddRange(extra);
        return all;
    }

    /// <summary>The name to verify: as configured, else the host of the address; a forwarded <c>localhost</c> stands for istiod.</summary>
    private static string ServerName(string? configured, string address)
    {
        if (!string.IsNullOrEmpty(configured)) { return configured; }
        int colon = address.LastIndexOf(':');
        string host = (colon < 0 ? address : address[..colon]).Trim('[', ']');
        return host.Contains("localhost", StringComparison.Ordinal) ? "istiod.istio-system.svc" : host;
    }

    [LoggerMessage(1, LogLevel.Warning, "{Reason}")]
    private static partial void Withheld(ILogger log, string reason);
}
