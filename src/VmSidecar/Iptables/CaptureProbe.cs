using System.Net;
using System.Net.Sockets;
using VmSidecar.Configuration;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Iptables;

/// <summary>
/// Proves installed rules with a real connection, as <c>--run-validation</c> of the classic command: listens in Envoy's place, calls the passthrough address
/// as the proxy would, and looks whether the call arrives with its original port. Unlike the classic one it works for root too: the calling socket is the proxy's.
/// </summary>
internal sealed class CaptureProbe(CaptureOptions options, TimeProvider time)
{
    private const int OriginalDestination = 80; // SO_ORIGINAL_DST, IP6T_SO_ORIGINAL_DST
    private static readonly TimeSpan s_period = TimeSpan.FromSeconds(1);

    /// <summary>Null: the rules do what they should; else what did not happen.</summary>
    public async Task<string?> RunAsync(CancellationToken stop)
    {
        if (await RunAsync(IPAddress.Loopback, IPAddress.Parse("127.0.0.6"), stop).ConfigureAwait(false) is { } problem) { return problem; }
        return options.IPv6 ? await RunAsync(IPAddress.IPv6Loopback, IPAddress.Parse("::6"), stop).ConfigureAwait(false) : null;
    }

    private async Task<string?> RunAsync(IPAddress here, IPAddress target, CancellationToken stop)
    {
        using var patience = new CancellationTokenSource(options.ProbeTimeout, time);
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(stop, patience.Token);
        var listeners = new List<Socket>();
        try
        {
            foreach (ushort port in new[] { options.ProxyPort, options.InboundPort }) { listeners.Add(Listen(here, port)); }
            Task<bool>[] arrivals = [.. listeners.Select(l => ArrivesAsync(l, ended.Token))];
            Task calls = CallAsync(here, target, ended.Token);
            await Task.WhenAny(arrivals).ConfigureAwait(false);
            bool arrived = arrivals.Any(a => a is { IsCompletedSuccessfully: true, Result: true });
            await ended.CancelAsync().ConfigureAwait(false);
            await Task.WhenAll([.. arrivals, calls]).ConfigureAwait(false);
            stop.ThrowIfCancellationRequested();
            return arrived ? null
                : $"no connection of uid {options.ProxyUids[0]} to {new IPEndPoint(target, options.ProbePort)} arrived at port {options.ProxyPort} or {options.InboundPort} within {options.ProbeTimeout.TotalSeconds:0.#} s";
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.AddressAlreadyInUse)
        {
            return $"{e.Message}: the probe needs ports {options.ProxyPort} and {options.InboundPort} for itself; stop the agent first, or look with 'vmsidecar iptables diff'";
        }
        finally
        {
            listeners.ForEach(l => l.Dispose());
        }
    }

    private static Socket Listen(IPAddress here, ushort port)
    {
        var socket = new Socket(here.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Bind(new IPEndPoint(here, port));
            socket.Listen();
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>True: a connection for the probe's port; false: none until the end.</summary>
    private async Task<bool> ArrivesAsync(Socket listener, CancellationToken ended)
    {
        try
        {
            while (true) // ends with the patience at the latest
            {
                using Socket connection = await listener.AcceptAsync(ended).ConfigureAwait(false);
                if (OriginalPort(connection) == options.ProbePort) { return true; }
            }
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    private async Task CallAsync(IPAddress here, IPAddress target, CancellationToken ended)
    {
        try
        {
            while (true) // ends with the patience at the latest
            {
                using Socket socket = ProxySocket(target.AddressFamily);
                socket.Bind(new IPEndPoint(here, 0)); // else IPv6 takes the target itself as source, which is how Envoy calls the application
                try
                {
                    await socket.ConnectAsync(new IPEndPoint(target, options.ProbePort), ended).ConfigureAwait(false);
                }
                catch (SocketException)
                {
                    // Not redirected: nobody listens there. The rules may be on their way.
                }
                await Task.Delay(s_period, time, ended).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // arrived, or the time is over
        }
    }

    private Socket ProxySocket(AddressFamily family) =>
        FileSystemUser.Run(options.ProxyUids[0], options.ProxyGids[0], () => new Socket(family, SocketType.Stream, ProtocolType.Tcp));

    /// <summary>struct sockaddr_in and sockaddr_in6 both begin with the family and the port.</summary>
    private static int OriginalPort(Socket connection)
    {
        byte[] address = new byte[28];
        int level = connection.AddressFamily == AddressFamily.InterNetwork ? 0 : 41; // IPPROTO_IP, IPPROTO_IPV6
        try
        {
            connection.GetRawSocketOption(level, OriginalDestination, address);
            return (address[2] << 8) | address[3];
        }
        catch (SocketException)
        {
            return 0; // not redirected
        }
    }
}
