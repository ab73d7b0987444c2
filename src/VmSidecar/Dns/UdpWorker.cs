using System.Buffers;
using System.Net;
using System.Net.Sockets;

namespace VmSidecar.Dns;

/// <summary>One receive loop on one UDP socket. What the tables answer is sent back from here without allocation; the rest is forwarded beside the loop. Owned by <see cref="DnsServer"/>.</summary>
internal sealed class UdpWorker(Socket socket, QueryHandler handler, Outstanding outstanding)
{
    private const int MaxReply = 65507; // the longest UDP payload over IPv4
    private const int TurnsInARow = 64;

    /// <summary>Ends by the token only.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        byte[] query = new byte[Answerer.EdnsSize], reply = new byte[MaxReply];
        var peer = new SocketAddress(socket.AddressFamily);
        for (int turn = 1; ; turn++)
        {
            int length;
            // under load receives complete at once; other work of the thread pool gets its turn all the same
            if (turn % TurnsInARow == 0) { await Task.Yield(); }
            try
            {
                length = await socket.ReceiveFromAsync(query.AsMemory(), SocketFlags.None, peer, stop);
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested) { return; }
            catch (SocketException) { continue; } // a client that left before its answer: the kernel tells us here
            if (handler.TryAnswer(query.AsSpan(0, length), tcp: false, reply, out int written, out PendingQuery pending))
            {
                if (written > 0) { Send(reply.AsSpan(0, written), peer); }
                continue;
            }
            outstanding.Enter();
            _ = ForwardAsync(query[..pending.Query.Length], pending, Copy(peer)); // awaited through outstanding
        }
    }

    private async Task ForwardAsync(byte[] packet, PendingQuery pending, SocketAddress peer)
    {
        try
        {
            ForwardResult result = await handler.ForwardAsync(packet, pending, PortOf(peer));
            byte[] reply = ArrayPool<byte>.Shared.Rent(MaxReply);
            try
            {
                int length = handler.Fit(packet, pending, result, reply);
                if (length > 0) { Send(reply.AsSpan(0, length), peer); }
            }
            finally { ArrayPool<byte>.Shared.Return(reply); }
        }
        finally
        {
            outstanding.Leave();
        }
    }

    /// <summary>A failed send costs one answer, not the loop.</summary>
    private void Send(ReadOnlySpan<byte> reply, SocketAddress peer)
    {
        try { socket.SendTo(reply, SocketFlags.None, peer); }
        catch (Exception e) when (e is SocketException or ObjectDisposedException) { }
    }

    private static SocketAddress Copy(SocketAddress peer)
    {
        var copy = new SocketAddress(peer.Family, peer.Size);
        peer.Buffer.Span[..peer.Size].CopyTo(copy.Buffer.Span);
        return copy;
    }

    private static int PortOf(SocketAddress peer) => (peer[2] << 8) | peer[3]; // sockaddr_in and sockaddr_in6 alike
}
