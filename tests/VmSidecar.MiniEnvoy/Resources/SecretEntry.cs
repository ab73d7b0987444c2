using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

namespace VmSidecar.MiniEnvoy.Resources;

/// <summary>One secret by name. Written by its SDS stream, read by every handshake; an update replaces the value whole.</summary>
internal sealed class SecretEntry(string name)
{
    private volatile SslStreamCertificateContext? _certificate;
    private volatile X509Certificate2Collection? _roots;

    public string Name => name;

    /// <summary>Own chain and key, for <c>default</c>.</summary>
    public SslStreamCertificateContext? Certificate { get => _certificate; set => _certificate = value; }

    /// <summary>Trust anchors, for <c>ROOTCA</c>.</summary>
    public X509Certificate2Collection? Roots { get => _roots; set => _roots = value; }

    public bool IsReady => _certificate is not null || _roots is not null;
}
