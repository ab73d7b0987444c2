using System.Net;
using System.Net.Sockets;

using VmSidecar.Linux.Sockets;

namespace VmSidecar.Status;

/// <summary>
/// Proves that this process still does its work: its own status port and its own DNS port answer, through the kernel, as anybody would see it. Neither
/// question leaves the process, so that a slow istiod, Envoy or upstream is not taken for a dead agent. Used by <see cref="SystemdWatchdog"/>.
/// </summary>
/// <param name="statusPort">The status port, once bound; 0: off.</param>
/// <param name="dns">The DNS socket; null: off.</param>
/// <param name="time">For the limit.</param>
internal sealed class OwnPulse(Func<int> statusPort, Func<IPEndPoint?> dns, TimeProvider time)
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    // A query with opcode 2 (STATUS, which nobody implements): answered from its header alone, NOTIMP, without a table or an upstream (RFC 1035 section 4.1.1).
    private static readonly byte[] StatusQuery = [0x77, 0x64, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// <summary>Null when all answer; otherwise what does not.</summary>
    public async Task<string?> CheckAsync(CancellationToken stop)
    {
        using var limit = new CancellationTokenSource(Limit, time);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop, limit.Token);
        string what = "the status port";
        try
        {
            if (statusPort() is > 0 and var port) { await AskStatusAsync(port, both.Token); }
            what = "the DNS port";
            if (dns() is { } endpoint) { await AskDnsAsync(endpoint, both.Token); }
            return null;
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return $"{what} does not answer within {Limit.TotalSeconds:0} s";
        }
        catch (Exception e) when (PeerFailure.Is(e))
        {
            return $"{what}: {e.Message}";
        }
    }

    private static async Task AskStatusAsync(int port, CancellationToken stop)
    {
        using var http = new HttpMessageInvoker(new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false });
        using var question = new HttpRequestMessage(HttpMethod.Get, $"http://127.0.0.1:{port}/healthz/live");
        try
        {
            using HttpResponseMessage answer = await http.SendAsync(question, stop);
            answer.EnsureSuccessStatusCode();
        }
        catch (Exception e) when (IsTurnedAway(e)) { } // at the limit of connections: it lives
    }

    /// <summary>Somebody has taken the connection and closed it, at once or later.</summary>
    private static bool IsTurnedAway(Exception e) => e switch
    {
        HttpRequestException { StatusCode: null } http => http.HttpRequestError != HttpRequestError.ConnectionError || http.InnerException is SocketException { SocketErrorCode: SocketError.ConnectionReset },
        SocketException socket => socket.SocketErrorCode == SocketError.NotConnected,
        _ => false,
    };

    private static async Task AskDnsAsync(IPEndPoint endpoint, CancellationToken stop)
    {
        using var socket = new Socket(endpoint.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        await socket.ConnectAsync(endpoint, stop);
        await socket.SendAsync(StatusQuery, stop);
        await socket.ReceiveAsync(new byte[512], stop);
    }
}
