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
            return Finding.Ok($"{socket.RemoteEndPoint} takes connections");
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
}
