using System.Net;
using System.Net.Sockets;

namespace VmSidecar.Commands.Doctor;

/// <summary>istiod's port takes connections.</summary>
internal sealed class TcpCheck : IDoctorCheck
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    public string Code => "NET002";

    public string Title => "istiod's port";

    public IReadOnlyList<string> Needs => ["NET001"];

    public async Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        (string host, int port) = context.Discovery;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(stop);
        limit.CancelAfter(Patience);
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        try
        {
            await socket.ConnectAsync(host, port, limit.Token);
            return Finding.Ok($"{Plain((IPEndPoint)socket.RemoteEndPoint!)} takes connections");
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return Finding.Fail($"{host}:{port} does not answer within {Patience.TotalSeconds:0} s", "Open the port in the firewall between this host and the east-west gateway");
        }
        catch (SocketException e)
        {
            return Finding.Fail($"{host}:{port}: {e.Message}", e.SocketErrorCode == SocketError.ConnectionRefused
                ? "Check that the address is the east-west gateway's and that it exposes istiod (port 15012)"
                : "Check this host's routes");
        }
    }

    /// <summary>An IPv4 address as people write it: a socket for both families has it inside an IPv6 one.</summary>
    private static IPEndPoint Plain(IPEndPoint peer) => peer.Address.IsIPv4MappedToIPv6 ? new(peer.Address.MapToIPv4(), peer.Port) : peer;
}
