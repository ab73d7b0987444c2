using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>An ask that is under way, for the exchange that goes on with it.</summary>
/// <param name="Plan">The servers in the order of this question; the first has been asked.</param>
/// <param name="Ask">The ask.</param>
/// <param name="Begin">When it was sent, as a timestamp.</param>
internal sealed record SentAsk(ServerPlan Plan, PendingAsk Ask, long Begin);

/// <summary>
/// The way of nearly every question: one datagram to the first server, its answer handed on by the thread that reads it, without a task in between. Whatever
/// else happens – no answer within the hedge delay, a refusal, a cut or broken answer, the stop – makes it go on as an <see cref="UpstreamExchange"/>,
/// which takes over the ask that is open. Made by <see cref="Forwarder"/> per question.
/// </summary>
internal sealed class QuickAsk(Forwarder forwarder, QuestionInFlight question, ServerPlan plan, TimeProvider time) : IAskObserver
{
    private const int Open = 0, Over = 1;

    private readonly long _begin = time.GetTimestamp();
    private int _state;
    private ITimer? _timer;
    private PendingAsk? _ask;

    /// <summary>Sends; false when the first server cannot be asked this way. <paramref name="patience"/> is when to go on otherwise.</summary>
    public bool TryStart(TimeSpan patience)
    {
        byte[] bare = QuestionKey.WithoutHopOptions(question.Packet, question.Query);
        byte[] copy = ReferenceEquals(bare, question.Packet) ? (byte[])bare.Clone() : bare;
        PendingAsk? ask = plan.Order[0].TrySend(copy, question.Query.Question, this);
        if (ask is null) { return Interlocked.Exchange(ref _state, Over) != Open; } // over: the stop has started the exchange already
        Volatile.Write(ref _ask, ask);
        // Armed once there is an ask to take over; the answer may be quicker than that.
        ITimer timer = time.CreateTimer(static ask => ((QuickAsk)ask!).GoOn(), this, patience, Timeout.InfiniteTimeSpan);
        Interlocked.Exchange(ref _timer, timer);
        if (Volatile.Read(ref _state) == Over) { timer.Dispose(); }
        return true;
    }

    /// <summary>On the thread that read the answer.</summary>
    public void Ended(byte[]? message)
    {
        if (!IsGood(message)) { GoOn(); return; }
        if (Interlocked.Exchange(ref _state, Over) != Open) { return; } // the exchange has it
        _timer?.Dispose();
        plan.Order[0].Health.Answered(time.GetElapsedTime(_begin));
        forwarder.Finish(question, new(message, AskServer: plan.Order[0], _begin));
    }

    /// <summary>Leaves the rest to an exchange.</summary>
    public void GoOn()
    {
        if (Interlocked.Exchange(ref _state, Over) != Open) { return; }
        _timer?.Dispose();
        PendingAsk? ask = Volatile.Read(ref _ask); // null: not even sent when the time was over
        forwarder.Lead(question, ask is null ? null : new SentAsk(plan, ask, _begin));
    }

    private static bool IsGood(byte[]? message) =>
        message is not null && DnsHeader.TryRead(message, out DnsHeader header) && header.Rcode is DnsRcode.NoError or DnsRcode.NxDomain && !header.IsTruncated && DnsReply.IsWhole(message, out _);
}
