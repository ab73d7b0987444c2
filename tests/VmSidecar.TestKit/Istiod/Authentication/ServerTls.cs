using System.Collections.Concurrent;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

using VmSidecar.TestKit.Pki;

namespace VmSidecar.TestKit.Istiod.Authentication;

/// <summary>istiod's TLS: its own name signed by the mesh CA; a client certificate is asked for and, if given, must stand every check.</summary>
internal sealed class ServerTls(FakeCa ca, IstiodOptions options)
{
    private SslStreamCertificateContext _serving = ca.IssueServer([.. options.ServerNames]).TlsContext();

    /// <summary>Reasons for which handshakes with a client certificate were refused, in order.</summary>
    public ConcurrentQueue<string> Refusals { get; } = new();

    /// <summary>The serving certificate is issued anew, by the signer of now and for these names (default: the configured ones).</summary>
    public void Reissue(TimeSpan? lifetime = null, params string[] names) =>
        _serving = ca.IssueServer(lifetime ?? TimeSpan.FromDays(90), names.Length > 0 ? names : [.. options.ServerNames]).TlsContext();

    /// <summary>Serves a certificate of another CA from now on.</summary>
    public void ServeWith(Issued foreign) => _serving = foreign.TlsContext();

    /// <summary>Options of one handshake.</summary>
    public SslServerAuthenticationOptions ForConnection() => new()
    {
        ServerCertificateContext = _serving,
        ClientCertificateRequired = true, // asked for; none is fine, see below
        EnabledSslProtocols = options.Protocols,
        CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
        RemoteCertificateValidationCallback = (_, certificate, chain, _) => certificate is null || Accepts((X509Certificate2)certificate, chain),
    };

    private bool Accepts(X509Certificate2 leaf, X509Chain? chain)
    {
        X509Certificate2Collection sent = [];
        if (chain is not null) { sent.AddRange(chain.ChainPolicy.ExtraStore); }
        if (ca.RefuseClient(leaf, sent, out _) is not { } reason) { return true; }
        Refusals.Enqueue(reason);
        return false;
    }
}
