using System.Buffers.Binary;
using System.ComponentModel;
using System.Net;
using System.Net.Sockets;
using VmSidecar.Linux.Sockets;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>
/// One connected UDP socket to one upstream server, with the asks waiting on it. Connected, so that the kernel drops other senders and
/// reports a closed port. Read by a loop of <see cref="UpstreamReading"/>, or by one of its own. Owned by <see cref="UpstreamServer"/>, which retires it
/// after a while so that its port changes.
/// </summary>
internal sealed class UpstreamSocket : IAsyncDisposable, IReadable
{
    private const int MaxReply = 65535;
    private const int MaxPending = 2048; // of 65,536 ids: a guess stays a guess
    private const int MaxBindTries = 16;
    private const int MaxStrays = 64;    // late answers are a handful; guessing takes thousands
    private const int NetworkUnreachable = 101, ConnectionReset = 104, ConnectionRefused = 111, HostUnreachable = 113; // errno

    private readonly Socket _socket;
    private readonly SafeSocketHandle _handle;
    private readonly Lock _gate = new();
    private readonly Dictionary<ushort, PendingAsk> _pending = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly Action _mismatched;
    private readonly UpstreamReading? _reading;
    private int _strays;
    private Task _receiving = Task.CompletedTask;

    private UpstreamSocket(Socket socket, UpstreamReading? reading, Action mismatched)
    {
        _socket = socket;
        _handle = socket.SafeHandle;
        _reading = reading;
        _mismatched = mismatched;
        LocalPort = ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    public int LocalPort { get; }

    /// <summary>Asks sent over its life.</summary>
    public int Sent { get; private set; }

    public bool IsIdle { get { lock (_gate) { return _pending.Count == 0; } } }

    /// <summary>So many answers fitted no question that somebody who knows this port may be guessing ids.</summary>
    public bool IsSprayed => Volatile.Read(ref _strays) >= MaxStrays;

    /// <summary>Binds a random port and connects; throws SocketException when the server cannot even be addressed (no IPv6, no route).</summary>
    public static UpstreamSocket Open(IPEndPoint server, SourcePorts ports, UpstreamReading? reading, Action mismatched)
    {
        var socket = new Socket(server.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        try
        {
            Bind(socket, ports);
            socket.Connect(server);
            var upstream = new UpstreamSocket(socket, reading, mismatched);
            if (reading is null) { upstream._receiving = upstream.ReceiveAsync(); }
            else { reading.Loop.Add(upstream._handle, upstream); }
            return upstream;
        }
        catch (Win32Exception e)
        {
            socket.Dispose();
            throw new SocketException(e.NativeErrorCode); // no room in the loop: as bad as no socket
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Sends the query under a fresh random id; null when the socket cannot send or has too much open. <paramref name="observer"/> is told the end.</summary>
    public PendingAsk? TrySend(byte[] query, DnsQuestion question, IAskObserver? observer)
    {
        var ask = new PendingAsk(this, query, question, observer);
        lock (_gate)
        {
            if (_pending.Count >= MaxPending) { return null; }
            do { ask.Id = RandomIds.Next(); } while (!_pending.TryAdd(ask.Id, ask));
            Sent++;
        }
        BinaryPrimitives.WriteUInt16BigEndian(query, ask.Id);
        if (TrySend(query)) { return ask; }
        Forget(ask);
        return null;
    }

    /// <summary>Nobody waits for this answer any more.</summary>
    public void Forget(PendingAsk ask)
    {
        lock (_gate)
        {
            if (_pending.TryGetValue(ask.Id, out PendingAsk? found) && found == ask) { _pending.Remove(ask.Id); }
        }
    }

    /// <summary>Takes what waits. On the loop's thread.</summary>
    public void Ready()
    {
        DatagramReceiver receiver = _reading!.Receiver;
        int count = receiver.Receive(_handle, out int error);
        for (int i = 0; i < count; i++) { Take(receiver.Datagram(i)); }
        if (count < 0 && error is ConnectionRefused or HostUnreachable or NetworkUnreachable or ConnectionReset) { FailAll(); }
    }

    /// <summary>Closes a socket that a loop reads. Once.</summary>
    public void Close()
    {
        _reading!.Loop.Remove(_handle);
        _socket.Dispose();
        FailAll();
        _stop.Dispose();
    }

    public async ValueTask DisposeAsync()
    {
        if (_reading is not null) { Close(); return; }
        await _stop.CancelAsync();
        _socket.Dispose();
        await _receiving;
        FailAll();
        _stop.Dispose();
    }

    private bool TrySend(byte[] query)
    {
        try
        {
            return _reading is null ? _socket.Send(query) > 0 : DatagramSocket.TrySend(_handle, query);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            return false;
        }
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
        PendingAsk? ask = null;
        if (DnsHeader.TryRead(reply, out DnsHeader header))
        {
            lock (_gate)
            {
                if (_pending.TryGetValue(header.Id, out ask) && DnsReply.Answers(reply, ask.Query, ask.Question)) { _pending.Remove(header.Id); }
                else { ask = null; }
            }
        }
        if (ask is not null) { ask.End(reply.ToArray()); return; }
        Interlocked.Increment(ref _strays);
        _mismatched();
    }

    /// <summary>The kernel reported the server's port closed, or the socket ends: whoever waits moves on at once.</summary>
    private void FailAll()
    {
        PendingAsk[] all;
        lock (_gate)
        {
            all = [.. _pending.Values];
            _pending.Clear();
        }
        foreach (PendingAsk ask in all) { ask.End(null); }
    }
}
