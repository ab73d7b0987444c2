using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Net;
using VmSidecar.Configuration;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>
/// Takes questions the tables do not answer to the servers of resolv.conf. Stages: 1 cache; 2 join an equal question in flight; 3 one datagram to the
/// first server (<see cref="QuickAsk"/>), or an exchange with all of them; 4 an expired answer where the servers are slow or fail; 5 remember the message,
/// and hand it to all who wait. Owned by <see cref="DnsServer"/>; <see cref="UseServers"/> has one caller, the rest is thread-safe.
/// </summary>
internal sealed class Forwarder(DnsOptions options, DnsMetrics metrics, SourcePorts ports, TimeProvider time) : IAsyncDisposable
{
    private const int MaxInFlight = 4096; // questions at a time; more are refused with SERVFAIL rather than queued

    private static readonly TimeSpan StaleDelay = TimeSpan.FromMilliseconds(1800); // a client gives up after two seconds or more, RFC 8767 §5

    private readonly ConcurrentDictionary<byte[], QuestionInFlight> _inFlight = new(WireNameComparer.Instance);
    private readonly Outstanding _leading = new();
    private readonly CancellationTokenSource _stop = new();
    private volatile ServerSet _servers = new([]);
    private int _count;

    public ImmutableArray<UpstreamServer> Servers => _servers.All;

    public ReplyCache Cache { get; } = new(time);

    /// <summary>Who reads the sockets to the servers; null: each socket itself, and no quick asks. Set before the first servers.</summary>
    public UpstreamReading? Reading { get; set; }

    /// <summary>True while a server is known to send our questions back.</summary>
    public bool Loops => _servers.All is { IsEmpty: false } all && all.All(s => s.Loops);

    /// <summary>Replaces the servers; those that stay keep their sockets and what is known of them. <paramref name="fallback"/> only counts when the others are gone.</summary>
    public void UseServers(ImmutableArray<IPEndPoint> endpoints, ImmutableArray<IPEndPoint> fallback = default)
    {
        ImmutableArray<UpstreamServer> old = _servers.All;
        ImmutableArray<UpstreamServer> now = [.. endpoints.Select(e => Find(old, e, isFallback: false)), .. fallback.IsDefault ? [] : fallback.Select(e => Find(old, e, isFallback: true))];
        foreach (UpstreamServer server in now) { server.IsStub = !server.IsFallback && now.Any(s => s.IsFallback); }
        _servers = new(now);
        Cache.Clear(); // another network may know other names; after the servers: what is asked from here on may be kept
        foreach (UpstreamServer gone in old.Where(s => !now.Contains(s)))
        {
            _leading.Enter();
            _ = LeaveAsync(gone); // awaited through _leading
        }
    }

    /// <summary>What was asked of a server that has left resolv.conf may still be answered.</summary>
    private async Task LeaveAsync(UpstreamServer gone)
    {
        try
        {
            try { await Task.Delay(LongWait.AtMost(options.ForwardTimeout), time, _stop.Token); }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested) { }
            await gone.DisposeAsync();
        }
        finally { _leading.Leave(); }
    }

    /// <summary>True when a query from this port is one of our own that came back: the capture rules do not exempt us.</summary>
    public bool IsOwnPort(int port)
    {
        foreach (UpstreamServer server in _servers.All)
        {
            if (server.Owns(port)) { return true; }
        }
        return false;
    }

    /// <summary>
    /// The upstream's whole message for this query, shared with others who ask the same (do not write to it), or none. <paramref name="packet"/> is kept until the end. Never throws.
    /// </summary>
    public Task<ForwardResult> ForwardAsync(byte[] packet, DnsQuery query, bool tcp)
    {
        var waiter = new TaskWaiter();
        Forward(packet, query, tcp, waiter);
        return waiter.Task;
    }

    /// <summary>The same, told to <paramref name="waiter"/>.</summary>
    public void Forward(byte[] packet, DnsQuery query, bool tcp, IForwardWaiter waiter)
    {
        byte[]? key = QuestionKey.For(packet, query, tcp);
        var question = new QuestionInFlight(key, packet, query, tcp, Cache.Generation);
        // 2
        if (key is not null)
        {
            QuestionInFlight found = _inFlight.GetOrAdd(key, question);
            if (found != question) { Join(found, waiter); return; }
        }
        question.Join(waiter);
        // 3
        _leading.Enter();
        metrics.UpstreamAsked();
        bool mayAsk = Interlocked.Increment(ref _count) <= MaxInFlight && !_stop.IsCancellationRequested;
        if (!mayAsk) { Finish(question, new(null, null, time.GetTimestamp())); }
        else if (!TryQuick(question)) { Lead(question, null); }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        foreach (QuestionInFlight question in _inFlight.Values) { question.Quick?.GoOn(); } // to an exchange, which ends with the stop
        await _leading.DrainAsync();
        foreach (UpstreamServer server in _servers.All) { await server.DisposeAsync(); }
        _stop.Dispose();
    }

    /// <summary>Asks the servers in full; a datagram already sent to the first counts.</summary>
    internal void Lead(QuestionInFlight question, SentAsk? sent) => _ = LeadAsync(question, sent); // awaited through _leading

    /// <summary>5: the question's end.</summary>
    internal void Finish(QuestionInFlight question, AskOutcome outcome)
    {
        byte[]? message = outcome.Message;
        if (message is null) { metrics.UpstreamFailed(); }
        else if (CacheKey(question) is { } cacheKey) { Cache.Store(cacheKey, message, fromLocal: outcome.AskServer!.IsBrief, question.Generation); }
        if (question.Key is not null) { _inFlight.TryRemove(new(question.Key, question)); } // first: who asks after the answer asks anew
        metrics.UpstreamTook(time.GetElapsedTime(outcome.Begin));
        Interlocked.Decrement(ref _count);
        question.Answer(new(message, message is null ? AnswerSource.Failed : AnswerSource.Upstream));
        _leading.Leave();
    }

    private UpstreamServer Find(ImmutableArray<UpstreamServer> old, IPEndPoint endpoint, bool isFallback) =>
        old.FirstOrDefault(s => s.IsFallback == isFallback && s.Endpoint.Equals(endpoint)) ?? new UpstreamServer(endpoint, isFallback, new(ports, Reading, metrics.Mismatched), time);

    private void Join(QuestionInFlight found, IForwardWaiter waiter)
    {
        if (Loops) // most likely our own question come back: waiting for it would be waiting for ourselves
        {
            metrics.Looped();
            waiter.Answered(new(null, AnswerSource.Failed));
            return;
        }
        metrics.Coalesced();
        found.Join(waiter);
    }

    private bool TryQuick(QuestionInFlight question)
    {
        ImmutableArray<UpstreamServer> servers = _servers.All;
        if (Reading is null || question.Tcp || question.Key is null || options.ForwardParallel || servers.IsEmpty) { return false; }
        ServerPlan plan = UpstreamExchange.Plan(servers);
        TimeSpan patience = UpstreamExchange.Delay(asks: 1, plan.Order.Length);
        QuickAsk quick = question.Quick = new QuickAsk(this, question, plan, time);
        if (!quick.TryStart(patience < options.ForwardTimeout ? patience : options.ForwardTimeout)) { return false; }
        if (_stop.IsCancellationRequested) { quick.GoOn(); } // the stop may have looked before this one was there
        return true;
    }

    private async Task LeadAsync(QuestionInFlight question, SentAsk? sent)
    {
        long begin = sent?.Begin ?? time.GetTimestamp();
        ExchangeResult done = default;
        try
        {
            var exchange = new UpstreamExchange(_servers.All, options.ForwardTimeout, options.ForwardParallel, time);
            Task<ExchangeResult> all = exchange.RunAsync(QuestionKey.WithoutHopOptions(question.Packet, question.Query), question.Query.Question, question.Tcp, sent, _stop.Token);
            // 4
            if (CacheKey(question) is { } cacheKey && Cache.FindStale(cacheKey) is { } stale && !await IsGoodInTimeAsync(all, StaleDelay - time.GetElapsedTime(begin)))
            {
                question.Answer(new(stale, AnswerSource.Stale));
            }
            done = await all;
        }
        finally
        {
            Finish(question, new(done.Message, done.Server, begin)); // nobody is left waiting, whatever happened
        }
    }

    /// <summary>Answers by UDP and TCP are remembered under one key.</summary>
    private static byte[]? CacheKey(QuestionInFlight question) => question.Tcp ? QuestionKey.For(question.Packet, question.Query, tcp: false) : question.Key;

    /// <summary>False after the delay, or when the servers failed before it.</summary>
    private async Task<bool> IsGoodInTimeAsync(Task<ExchangeResult> exchange, TimeSpan delay)
    {
        try
        {
            ExchangeResult result = await exchange.WaitAsync(delay > TimeSpan.Zero ? delay : TimeSpan.Zero, time);
            return result.Message is { Length: > 3 } message && (message[3] & DnsHeader.RcodeMask) is DnsRcode.NoError or DnsRcode.NxDomain;
        }
        catch (TimeoutException)
        {
            return false;
        }
    }

    private sealed record ServerSet(ImmutableArray<UpstreamServer> All);
}

/// <summary>A message from upstream, the cache or nowhere (null).</summary>
internal readonly record struct ForwardResult(byte[]? Message, AnswerSource Source);

/// <summary>What one question came to: a message and the server it is from, or null; and when it began, as a timestamp.</summary>
internal readonly record struct AskOutcome(byte[]? Message, UpstreamServer? AskServer, long Begin);
