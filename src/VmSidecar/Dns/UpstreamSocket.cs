using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>
/// One connected UDP socket to one upstream server, with the asks waiting on it. Connected, so that the kernel drops other senders and
/// reports a closed port. Owned by <see cref="UpstreamServer"/>, which retires it after a while so that its port changes.
/// </summary>
internal sealed class UpstreamSocket : IAsyncDisposable
{
    private const int MaxReply = 65535;
    private const int MaxPending = 2048; // of 65,536 ids: a guess stays a guess
    private const int MaxBindTries = 16;
    private const int MaxStrays = 64;    // late answers are a handful; guessing takes thousands

    private readonly Socket _socket;
    private readonly ConcurrentDictionary<ushort, PendingAsk> _pending = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly Action _mismatched;
    private int _strays;
    private Task _receiving = Task.CompletedTask;

    private UpstreamSocket(Socket socket, Action mismatched)
    {
        _socket = socket;
        _mismatched = mismatched;
        LocalPort = ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    public int LocalPort { get; }

    /// <summary>Asks sent over its life.</summary>
    public int Sent { get; private set; }

    public bool IsIdle => _pending.IsEmpty;

    /// <summary>So many answers fitted no question that somebody who knows this port may be guessing ids.</summary>
    public bool IsSprayed => Volatile.Read(ref _strays) >= MaxStrays;

    /// <summary>Binds a random port and connects; throws SocketException when the server cannot even be addressed (no IPv6, no route).</summary>
    public static UpstreamSocket Open(IPEndPoint server, SourcePorts ports, Action mismatched)
    {
        var socket = new Socket(server.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        try
        {
            Bind(socket, ports);
            socket.Connect(server);
            var upstream = new UpstreamSocket(socket, mismatched);
            upstream._receiving = upstream.ReceiveAsync();
            return upstream;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Sends the query under a fresh random id; null when the socket cannot send or has too much open.</summary>
    public PendingAsk? TrySend(byte[] query, DnsQuestion question)
    {
        if (_pending.Count >= MaxPending) { return null; }
        var ask = new PendingAsk(query, question);
        ushort id;
        do { id = (ushort)RandomNumberGenerator.GetInt32(ushort.MaxValue + 1); } while (!_pending.TryAdd(id, ask));
        ask.Id = id;
        BinaryPrimitives.WriteUInt16BigEndian(query, id);
        try
        {
            Sent++;
            _socket.Send(query);
            return ask;
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            _pending.TryRemove(id, out _);
            return null;
        }
    }

    /// <summary>Nobody waits for this answer any more.</summary>
    public void Forget(PendingAsk ask) => _pending.TryRemove(new(ask.Id, ask));

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _socket.Dispose();
        await _receiving;
        FailAll();
        _stop.Dispose();
    }

    private static void Bind(Socket socket, SourcePorts ports)
    {
        IPAddress any = socket.AddressFamily == AddressFamily.InterNetworkV6 ? IPAddress.IPv6Any : IPAddress.Any;
        for (int i = 0; i < MaxBindTries; i++)
        {
            try { socket.Bind(new IPEndPoint(any, ports.Next())); return; }
            catch (SocketException e) when (e.SocketErrorCode is SocketError.AddressAlreadyInUse or SocketError.AccessDenied) { }
        }
        socket.Bind(new IPEndPoint(any, 0)); // a crowded host: any port answers better than none
    }

    /// <summary>Ends by disposal only.</summary>
    private async Task ReceiveAsync()
    {
        byte[] buffer = new byte[MaxReply];
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                int length = await _socket.ReceiveAsync(buffer.AsMemory(), SocketFlags.None, _stop.Token);
                Take(buffer.AsSpan(0, length));
            }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested) { return; }
            catch (ObjectDisposedException) { return; }
            catch (SocketException e)
            {
                if (_stop.IsCancellationRequested) { return; }
                if (e.SocketErrorCode is SocketError.ConnectionRefused or SocketError.HostUnreachable or SocketError.NetworkUnreachable or SocketError.ConnectionReset) { FailAll(); }
            }
        }
    }

    /// <summary>Matches an answer by id and question; what matches nobody is dropped: late, or somebody guessing.</summary>
    private void Take(ReadOnlySpan<byte> reply)
    {
        if (DnsHeader.TryRead(reply, out DnsHeader header) && _pending.TryGetValue(header.Id, out PendingAsk? ask) && DnsReply.Answers(reply, ask.Query, ask.Question))
        {
            if (_pending.TryRemove(header.Id, out _)) { ask.Done.TrySetResult(reply.ToArray()); }
            return;
        }
        Interlocked.Increment(ref _strays);
        _mismatched();
    }

    /// <summary>The kernel reported the server's port closed, or the socket ends: whoever waits moves on at once.</summary>
    private void FailAll()
    {
        foreach (ushort id in _pending.Keys)
        {
            if (_pending.TryRemove(id, out PendingAsk? ask)) { ask.Done.TrySetResult(null); }
        }
    }
}

/// <summary>One query on its way over one socket. <c>Done</c> carries the answer, or null when the server is unreachable.</summary>
internal sealed class PendingAsk(byte[] query, DnsQuestion question)
{
    public readonly byte[] Query = query;
    public readonly DnsQuestion Question = question;
    public readonly TaskCompletionSource<byte[]?> Done = new(TaskCreationOptions.RunContinuationsAsynchronously);
    public ushort Id;
}
