using Microsoft.Extensions.Logging;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>
/// The path of one query, for both transports. Stages: admit, question, table (<see cref="TryAnswer"/>, on the worker, without allocation), forward,
/// fit (<see cref="ForwardAsync"/>). Owned by <see cref="DnsServer"/>; used by all workers at once.
/// </summary>
internal sealed class QueryHandler(DnsState state, Answerer answerer, Forwarder forwarder, LoopWatch loops, DnsMetrics metrics, ILogger log)
{
    private int _loopSaid;
    private int _silentSaid;
    private volatile bool _isLeaving;

    /// <summary>Answers from what is at hand. False: the query must be forwarded, with <paramref name="pending"/> saying how. True with length 0: silence.</summary>
    public bool TryAnswer(ReadOnlySpan<byte> packet, bool tcp, Span<byte> reply, out int length, out PendingQuery pending)
    {
        AnswerResult result = AnswerFromTables(packet, tcp, reply, out DnsQuery query);
        length = result.Length;
        pending = default;
        if (result.Action == AnswerAction.Drop) { return true; }
        if (result.Source != AnswerSource.Refused || result.Action != AnswerAction.Reply) { metrics.Asked(query.Question.Type); }
        if (result.Action == AnswerAction.Reply)
        {
            metrics.Answered(result.Source, reply[..length]);
            return true;
        }
        pending = new(query, result.Action, tcp);
        return TryCache(packet, pending, reply, out length);
    }

    private AnswerResult AnswerFromTables(ReadOnlySpan<byte> packet, bool tcp, Span<byte> reply, out DnsQuery query)
    {
        using SnapshotUse use = state.Use();
        return answerer.Answer(packet, use.Snapshot, tcp, (uint)Random.Shared.Next(), reply, out query);
    }

    /// <summary>Answers a query for upstream from the cache.</summary>
    private bool TryCache(ReadOnlySpan<byte> packet, PendingQuery pending, Span<byte> reply, out int length)
    {
        CacheHit hit = forwarder.Cache.TryAnswer(packet, pending.Query, reply, out length);
        if (hit == CacheHit.Miss) { return false; }
        AnswerSource source = AnswerSource.Cache;
        int instead = TryElse(packet, pending, reply[3] & DnsHeader.RcodeMask, reply, ref source);
        length = instead > 0 ? instead : DnsReply.Fit(reply[..length], Answerer.Limit(pending.Query, pending.Tcp));
        metrics.Answered(source, reply[..length]);
        if (hit == CacheHit.FreshButDue) { forwarder.Forward(packet[..pending.Query.Length].ToArray(), pending.Query, pending.Tcp, NoWaiter.Instance); }
        return true;
    }

    /// <summary>What a name of ours gets where upstream has nothing; 0: upstream's own answer.</summary>
    private int TryElse(ReadOnlySpan<byte> packet, PendingQuery pending, int rcode, Span<byte> reply, ref AnswerSource source)
    {
        int length = 0;
        if (pending.Action == AnswerAction.ForwardElseVip && rcode == DnsRcode.NxDomain)
        {
            using SnapshotUse use = state.Use();
            length = answerer.AnswerVip(packet, pending.Query, use.Snapshot, pending.Tcp, (uint)Random.Shared.Next(), reply);
            if (length > 0) { source = AnswerSource.Vip; }
        }
        else if (pending.Action == AnswerAction.ForwardThenTable && rcode != DnsRcode.NxDomain)
        {
            using SnapshotUse use = state.Use();
            length = answerer.AnswerTable(packet, pending.Query, use.Snapshot, pending.Tcp, (uint)Random.Shared.Next(), reply);
            if (length > 0) { source = AnswerSource.Wildcard; }
        }
        else if (pending.Action == AnswerAction.ForwardElseEmpty && rcode != DnsRcode.NoError)
        {
            length = answerer.AnswerEmpty(packet, pending.Query, pending.Tcp, reply);
            source = AnswerSource.Table;
        }
        return length;
    }

    /// <summary>Forwards a copy of the packet, which it keeps. Never throws; <see cref="Fit"/> makes an answer of every result.</summary>
    public Task<ForwardResult> ForwardAsync(byte[] packet, PendingQuery pending, int clientPort)
    {
        var waiter = new TaskWaiter();
        Forward(packet, pending, clientPort, waiter);
        return waiter.Task;
    }

    /// <summary>The same, told to <paramref name="waiter"/>.</summary>
    public void Forward(byte[] packet, PendingQuery pending, int clientPort, IForwardWaiter waiter)
    {
        bool isProbe = loops.Takes(pending.Query.Name(packet)), isOwn = !isProbe && forwarder.IsOwnPort(clientPort);
        if (isOwn) { SayLoop(); }
        if (isProbe || isOwn) { waiter.Answered(new(null, AnswerSource.Failed)); }
        else { forwarder.Forward(packet, pending.Query, pending.Tcp, waiter); }
    }

    /// <summary>From now on a question that upstream has not answered gets silence: another agent reads the same sockets soon, and the client asks again.</summary>
    public void LeaveUnanswered() => _isLeaving = true;

    /// <summary>Writes what the client gets for the result: SERVFAIL at worst, never NXDOMAIN for our own trouble, which resolvers would remember. 0: silence.</summary>
    public int Fit(byte[] packet, PendingQuery pending, ForwardResult result, Span<byte> reply)
    {
        if (result.Message is null && _isLeaving) { return 0; }
        int rcode = result.Message is { Length: > 3 } message ? message[3] & DnsHeader.RcodeMask : DnsRcode.ServFail;
        AnswerSource source = result.Source;
        SayWhenSilent(result.Message is null);
        int length = TryElse(packet, pending, rcode, reply, ref source);
        if (length == 0) { length = Copy(packet, pending, result, reply, out source); }
        metrics.Answered(source, reply[..length]);
        return length;
    }

    private static int Copy(byte[] packet, PendingQuery pending, ForwardResult result, Span<byte> reply, out AnswerSource source)
    {
        source = result.Source;
        if (result.Message is null || result.Message.Length > reply.Length)
        {
            source = AnswerSource.Failed;
            return DnsReply.WriteEmpty(packet, pending.Query, DnsRcode.ServFail, Answerer.EdnsSize, reply);
        }
        result.Message.CopyTo(reply);
        Span<byte> message = reply[..result.Message.Length];
        DnsReply.Readdress(message, packet, pending.Query.Question);
        return DnsReply.Fit(message, Answerer.Limit(pending.Query, pending.Tcp));
    }

    private void SayLoop()
    {
        metrics.Looped();
        if (Interlocked.Exchange(ref _loopSaid, 1) == 0) { DnsLog.Loop(log); }
    }

    /// <summary>Says the change of state, not every failure: one name that nobody answers is no news.</summary>
    private void SayWhenSilent(bool failed)
    {
        int now = failed ? 1 : 0;
        if (Volatile.Read(ref _silentSaid) == now || (failed && !forwarder.Servers.All(s => s.Health.IsSilent))) { return; }
        if (Interlocked.Exchange(ref _silentSaid, now) == now) { return; }
        if (failed) { DnsLog.UpstreamsSilent(log, string.Join(", ", forwarder.Servers.Select(s => s.Endpoint))); }
        else { DnsLog.UpstreamsBack(log); }
    }
}

/// <summary>A query the tables did not answer, parsed, and what to do when upstream knows nothing.</summary>
internal readonly record struct PendingQuery(DnsQuery Query, AnswerAction Action, bool Tcp);
