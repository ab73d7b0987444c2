using System.Net.Sockets;

namespace VmSidecar.Dns;

/// <summary>Accepts connections on one TCP socket and runs a <see cref="TcpSession"/> for each, up to a bound. Owned by <see cref="DnsServer"/>.</summary>
internal sealed class TcpAcceptor(Socket listener, QueryHandler handler, DnsMetrics metrics, Outstanding outstanding, TimeProvider time)
{
    private const int MaxSessions = 2000; // each holds a descriptor; beyond it new ones are closed at once, and UDP still answers
    private static readonly TimeSpan Breath = TimeSpan.FromMilliseconds(50); // after an accept that failed for want of descriptors

    private int _sessions;

    /// <summary>Ends by the token only.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            try
            {
                Socket client = await listener.AcceptAsync(stop);
                if (Interlocked.Increment(ref _sessions) > MaxSessions)
                {
                    Interlocked.Decrement(ref _sessions);
                    metrics.TcpRefused();
                    client.Dispose();
                    continue;
                }
                outstanding.Enter();
                _ = ServeAsync(client, stop); // awaited through outstanding
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested) { return; }
            catch (SocketException)
            {
                try { await Task.Delay(Breath, time, stop); }
                catch (OperationCanceledException) when (stop.IsCancellationRequested) { return; }
            }
        }
    }

    private async Task ServeAsync(Socket client, CancellationToken stop)
    {
        try
        {
            using var session = new TcpSession(client, handler, time);
            await session.RunAsync(stop);
        }
        finally
        {
            Interlocked.Decrement(ref _sessions);
            outstanding.Leave();
        }
    }
}
