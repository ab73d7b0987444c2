using System.Net.Sockets;

using VmSidecar.Configuration;

namespace VmSidecar.Health;

/// <summary>tcpSocket: healthy when a connection comes about within the timeout.</summary>
internal sealed class TcpProber(TcpProbe probe, ProbeOptions options, TimeProvider time) : IProber
{
    private readonly string _host = string.IsNullOrEmpty(probe.Host) ? options.DefaultHost : probe.Host;

    public async Task<string?> ProbeAsync(CancellationToken stop)
    {
        using var deadline = new CancellationTokenSource(options.Timeout, time);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop, deadline.Token);
        string address = GoErrors.Join(_host, probe.Port);
        try
        {
            using Socket socket = await ProbeSocket.ConnectAsync(_host, probe.Port, null, both.Token);
            return null;
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return GoErrors.DialTimeout(address);
        }
        catch (SocketException e)
        {
            return GoErrors.Dial(address, e);
        }
    }
}
