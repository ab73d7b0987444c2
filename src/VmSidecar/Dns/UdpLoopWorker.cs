using System.Net.Sockets;
using VmSidecar.Linux.Sockets;

namespace VmSidecar.Dns;

/// <summary>
/// Serves one UDP socket on a loop's thread: takes a batch of queries with one call, answers what the tables and the cache know, and sends the answers with
/// one call when the round ends. What is forwarded is answered from here too, by whichever thread has upstream's answer. Owned by <see cref="UdpService"/>.
/// </summary>
internal sealed class UdpLoopWorker : IReadable, IDisposable
{
    private readonly Lock _serving = new(); // held for one batch; Close waits for it
    private readonly Lock _sending = new();
    private readonly SafeSocketHandle _handle;
    private readonly ReadyLoop _loop;
    private readonly DatagramReceiver _receiver;
    private readonly QueryHandler _handler;
    private readonly Outstanding _outstanding;
    private readonly DatagramSender _sender;  // the loop's
    private readonly DatagramSender _besides; // of all other threads, one at a time
    private bool _isClosed;

    /// <param name="socket">Bound.</param>
    /// <param name="loop">Who calls.</param>
    /// <param name="receiver">Memory to receive into, shared by all workers of the loop.</param>
    /// <param name="handler">What answers.</param>
    /// <param name="outstanding">Counts the queries under way.</param>
    public UdpLoopWorker(Socket socket, ReadyLoop loop, DatagramReceiver receiver, QueryHandler handler, Outstanding outstanding)
    {
        _handle = socket.SafeHandle;
        _loop = loop;
        _receiver = receiver;
        _handler = handler;
        _outstanding = outstanding;
        _sender = new(_handle, UdpService.Batch);
        _besides = new(_handle, 1);
        loop.Add(_handle, this);
    }

    public void Ready()
    {
        lock (_serving)
        {
            if (_isClosed) { return; }
            int count = _receiver.Receive(_handle, out _);
            for (int i = 0; i < count; i++) { Serve(i); }
        }
    }

    /// <summary>Sends what was collected. On the loop's thread.</summary>
    public void Flush() => _sender.Flush();

    /// <summary>Takes no more queries. Those under way are still answered.</summary>
    public void Close()
    {
        _loop.Remove(_handle);
        lock (_serving) { _isClosed = true; }
    }

    /// <summary>After the loop has ended and nothing is under way.</summary>
    public void Dispose()
    {
        _sender.Dispose();
        _besides.Dispose();
    }

    private void Serve(int index)
    {
        ReadOnlySpan<byte> query = _receiver.Datagram(index);
        bool isAnswered = _handler.TryAnswer(query, tcp: false, _sender.Room(), out int length, out PendingQuery pending);
        if (isAnswered && length == 0) { return; }
        _receiver.Peer(index, out DatagramPeer peer);
        if (isAnswered) { _sender.Add(peer, length); return; }
        var waiting = new Client(this, query[..pending.Query.Length].ToArray(), pending, peer);
        _outstanding.Enter();
        _handler.Forward(waiting.Packet, pending, peer.Port, waiting);
    }

    private void Reply(Client client, ForwardResult result)
    {
        if (_loop.IsCurrent) { Reply(_sender, client, result); return; }
        lock (_sending)
        {
            Reply(_besides, client, result);
            _besides.Flush();
        }
    }

    private void Reply(DatagramSender sender, Client client, ForwardResult result)
    {
        int length = _handler.Fit(client.Packet, client.Pending, result, sender.Room());
        if (length > 0) { sender.Add(client.Peer, length); }
    }

    /// <summary>One client whose query is under way.</summary>
    private sealed class Client(UdpLoopWorker worker, byte[] packet, PendingQuery pending, DatagramPeer peer) : IForwardWaiter
    {
        private readonly DatagramPeer _peer = peer;

        public byte[] Packet => packet;

        public PendingQuery Pending => pending;

        public ref readonly DatagramPeer Peer => ref _peer;

        public void Answered(ForwardResult result)
        {
            worker.Reply(this, result);
            worker._outstanding.Leave();
        }
    }
}
