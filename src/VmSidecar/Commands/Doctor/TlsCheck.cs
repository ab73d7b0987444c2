using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;

using VmSidecar.Grpc;

namespace VmSidecar.Commands.Doctor;

/// <summary>istiod proves its name with a certificate of the root this host was given.</summary>
internal sealed class TlsCheck : IDoctorCheck
{
    public string Code => "TLS001";

    public string Title => "istiod's certificate";

    public IReadOnlyList<string> Needs => ["NET002", "CRT001", "CLK001"];

    public async Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        GrpcChannelOptions channel = context.Istiod!.XdsChannel();
        if (channel.Tls is null) { return new Finding(Outcome.Warning, "the control plane is reached in plain text", "Use port 15012 and leave controlPlaneAuthPolicy alone"); }
        (string host, int port) = context.Discovery;
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        try
        {
            await socket.ConnectAsync(host, port, stop);
            SslClientAuthenticationOptions tls = channel.Tls();
            await using var stream = new SslStream(new NetworkStream(socket));
            await stream.AuthenticateAsClientAsync(tls, stop);
            return Finding.Ok($"{tls.TargetHost} is proven ({stream.SslProtocol})");
        }
        catch (AuthenticationException e)
        {
            return Finding.Fail(e.Message, "If istiod's root has changed, copy the new root-cert.pem; if the name differs, set discoveryAddress to a name in its certificate");
        }
        catch (Exception e) when (e is IOException or SocketException)
        {
            return Finding.Fail($"the connection broke during the handshake: {e.Message}", "Check that nothing between this host and istiod ends TLS (the gateway's port must be TLS passthrough)");
        }
    }
}
