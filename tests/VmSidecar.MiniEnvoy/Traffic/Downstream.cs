using System.Net;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

using VmSidecar.MiniEnvoy.Resources;

namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>A connection from a client, after its filter chain was chosen and TLS taken off. Destination is where the client wanted to go.</summary>
internal sealed record Downstream(Duplex Connection, IPEndPoint Remote, IPEndPoint Destination, ListenerEntry Listener, ChainEntry Chain, string ServerName)
{
    /// <summary>The verified certificate of the client, when there is mTLS.</summary>
    public X509Certificate2? Peer => (Connection.Stream as SslStream)?.RemoteCertificate as X509Certificate2;
}
