using System.Net;
using System.Net.Sockets;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>How one ask of one server ended.</summary>
internal enum AskEnd : byte
{
    Answered,
    Unreachable,
    Abandoned,
}

/// <summary>The end of one ask; <c>Message</c> only when answered.</summary>
internal readonly record struct AskResult(AskEnd End, byte[]? Message, UpstreamServer Server);

/// <summary>One upstream server: its sockets, and what is remembered of its behaviour. Owned by <see cref="Forwarder"/>; thread-safe.</summary>
internal sealed class UpstreamServer : IAsyncDisposable
{
    private const int MaxSockets = 4;      // open at a time: ports a guesser would have to know
    private const int AsksPerSocket = 4096; // then the port changes

    private static readonly TimeSpan TcpPatience = TimeSpan.FromSeconds(2); // a filtered port swallows the connection without a word

    private readonly UpstreamMeans _means;
    private readonly TimeProvider _time;
    private readonly StubProof _proof;
    private readonly Lock _gate = new();
    private readonly List<UpstreamSocket> _sockets = [];
    private readonly List<UpstreamSocket> _retired = [];
    private int _next;
    private bool _disposed;
    private volatile bool _loops, _isStub;

    public UpstreamServer(IPEndPoint endpoint, bool isFallback, UpstreamMeans means, TimeProvider time)
    {
        (Endpoint, IsFallback, _means, _time) = (endpoint, isFallback, means, time);
        Health = new(time);
        _proof = new(Health, (query, question, stop) => AskUdpAsync(query, question, null, stop), time);
    }

    public IPEndPoint Endpoint { get; }

    /// <summary>Asked only when the servers of resolv.conf are gone or silent: it stands behind one of them and knows less.</summary>
    public bool IsFallback { get; }

    /// <summary>Others stand behind it and know less: a name it is silent about does not put it down, as long as it answers a question of our own (<see cref="StubProof"/>).</summary>
    public bool IsStub { get => _isStub; set => _isStub = value; }

    /// <summary>Its answers are kept briefly: one of this host has a cache of its own and sees networks come and go; one behind a stub is asked for want of better.</summary>
    public bool IsBrief => IsFallback || IPAddress.IsLoopback(Endpoint.Address);

    /// <summary>It is a forwarder of this host that sends our questions back to us; written by <see cref="LoopWatch"/>.</summary>
    public bool Loops { get => _loops; set => _loops = value; }

    /// <summary>Judges the server by what happened to its asks.</summary>
    public UpstreamHealth Health { get; }

    /// <summary>True for the one question, now and then, that is to find out whether a server that is down has come back; a stub is asked otherwise.</summary>
    public bool TakeTrial() => !IsStub && Health.TakeTrial();

    /// <summary>True when one of our sockets to this server sends from the port.</summary>
    public bool Owns(int port)
    {
        lock (_gate) { return _sockets.Exists(s => s.LocalPort == port) || _retired.Exists(s => s.LocalPort == port); }
    }

    /// <summary>
    /// Asks once by UDP, then by TCP if the answer was cut; or by TCP at once, then by UDP if that fails: a closed or filtered TCP port says nothing
    /// about the server. Never throws; ends with <paramref name="stop"/> at the latest.
    /// </summary>
    public Task<AskResult> AskAsync(byte[] query, DnsQuestion question, bool tcp, CancellationToken stop) => RunAsync(query, new(question, tcp, _time.GetTimestamp()), null, stop);

    /// <summary>Asks the same question again while the first ask is open: its silence is no other than the first one's.</summary>
    public Task<AskResult> AskAgainAsync(byte[] query, DnsQuestion question, bool tcp, CancellationToken stop) => RunAsync(query, new(question, tcp, _time.GetTimestamp(), IsRepeat: true), null, stop);

    /// <summary>Goes on with an ask that <see cref="TrySend"/> began.</summary>
    public Task<AskResult> ResumeAsync(byte[] query, SentAsk sent, CancellationToken stop) => RunAsync(query, new(sent.Ask.Question, Tcp: false, sent.Begin), sent.Ask, stop);

    /// <summary>Sends one datagram and leaves the rest to <paramref name="observer"/>; null: could not. <paramref name="query"/> is kept, and gets an id. For sockets that a loop reads.</summary>
    public PendingAsk? TrySend(byte[] query, DnsQuestion question, IAskObserver observer)
    {
        UpstreamSocket? socket = TakeSocket(out UpstreamSocket? worn);
        worn?.Close();
        return socket?.TrySend(query, question, observer);
    }

    private async Task<AskResult> RunAsync(byte[] query, OneAsk ask, PendingAsk? sent, CancellationToken stop)
    {
        (DnsQuestion question, bool tcp, long begin, bool isRepeat) = ask;
        byte[]? whole = tcp ? await AskTcpAsync(query, question, stop) : null;
        byte[]? message = whole ?? (stop.IsCancellationRequested ? null : await AskUdpAsync(query, question, sent, stop));
        if (whole is null && !tcp && IsCut(message)) { message = await AskTcpAsync(query, question, stop) ?? message; } // cut, with TC, is better than none
        if (message is not null && !DnsReply.IsWhole(message, out _)) { message = null; }
        if (message is not null)
        {
            Health.Answered(_time.GetElapsedTime(begin));
            return whole is null && tcp && IsCut(message) ? new(AskEnd.Unreachable, null, this) : new(AskEnd.Answered, message, this);
        }
        bool isAbandoned = stop.IsCancellationRequested;
        if (!isAbandoned) { Health.Unreachable(begin); }
        else if (!isRepeat) { Health.Silent(begin, proves: !IsStub); }
        if (IsStub && Health.IsSuspect) { _proof.Start(); }
        return new(isAbandoned ? AskEnd.Abandoned : AskEnd.Unreachable, null, this);
    }

    public async ValueTask DisposeAsync()
    {
        await _proof.DisposeAsync();
        UpstreamSocket[] all;
        lock (_gate)
        {
            _disposed = true;
            all = [.. _sockets, .. _retired];
            _sockets.Clear();
            _retired.Clear();
        }
        foreach (UpstreamSocket socket in all) { await socket.DisposeAsync(); }
    }

    private static bool IsCut(byte[]? message) => message is not null && DnsHeader.TryRead(message, out DnsHeader header) && header.IsTruncated;

    private async Task<byte[]?> AskTcpAsync(byte[] query, DnsQuestion question, CancellationToken stop)
    {
        using var patience = new CancellationTokenSource(TcpPatience, _time);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop, patience.Token);
        return await UpstreamTcp.AskAsync(Endpoint, query, question, end.Token);
    }

    private async Task<byte[]?> AskUdpAsync(byte[] query, DnsQuestion question, PendingAsk? ask, CancellationToken stop)
    {
        if (ask is null)
        {
            UpstreamSocket? socket = TakeSocket(out UpstreamSocket? worn);
            if (worn is not null) { await worn.DisposeAsync(); }
            ask = socket?.TrySend((byte[])query.Clone(), question, null);
            if (ask is null)
            {
                if (socket is not null) { Retire(socket); } // its source address may be gone
                return null;
            }
        }
        await using CancellationTokenRegistration ended = stop.UnsafeRegister(static ask => ((PendingAsk)ask!).End(null), ask);
        byte[]? message = await ask.WaitAsync();
        ask.Socket.Forget(ask);
        if (message is null && stop.IsCancellationRequested && Health.IsSuspect) { Retire(ask.Socket); }
        return message;
    }

    /// <summary>A socket to send on, each in turn; <paramref name="worn"/> is one to close.</summary>
    private UpstreamSocket? TakeSocket(out UpstreamSocket? worn)
    {
        worn = null;
        lock (_gate)
        {
            if (_disposed) { return null; }
            int slot = _next++ & (MaxSockets - 1);
            bool isWorn = slot < _sockets.Count && (_sockets[slot].Sent >= AsksPerSocket || _sockets[slot].IsSprayed);
            if (isWorn) { _retired.Add(_sockets[slot]); _sockets.RemoveAt(slot); }
            int idle = _retired.FindIndex(s => s.IsIdle);
            if (idle >= 0) { worn = _retired[idle]; _retired.RemoveAt(idle); }
            return slot < _sockets.Count && !isWorn ? _sockets[slot] : TryOpen();
        }
    }

    private UpstreamSocket? TryOpen()
    {
        try
        {
            UpstreamSocket opened = UpstreamSocket.Open(Endpoint, _means.Ports, _means.Reading, _means.Mismatched);
            _sockets.Add(opened);
            return opened;
        }
        catch (SocketException)
        {
            return _sockets.Count > 0 ? _sockets[0] : null;
        }
    }

    private void Retire(UpstreamSocket socket)
    {
        lock (_gate)
        {
            if (_sockets.Remove(socket)) { _retired.Add(socket); }
        }
    }

    /// <summary>What one ask is about, and when it began, as a timestamp.</summary>
    private readonly record struct OneAsk(DnsQuestion Question, bool Tcp, long Begin, bool IsRepeat = false);
}
