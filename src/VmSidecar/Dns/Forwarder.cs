using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Net;
using VmSidecar.Configuration;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>
/// Takes questions the tables do not answer to the servers of resolv.conf. Stages: 1 cache; 2 join an equal question in flight; 3 exchange;
/// 4 an expired answer where the servers are slow or fail; 5 hand the message to all who wait, and remember it.
/// Owned by <see cref="DnsServer"/>; <see cref="UseServers"/> has one caller, the rest is thread-safe.
/// </summary>
internal sealed class Forwarder(DnsOptions options, DnsMetrics metrics, SourcePorts ports, TimeProvider time) : IAsyncDisposable
{
    private const int MaxInFlight = 4096; // questions at a time; more are refused with SERVFAIL rather than queued

    private static readonly TimeSpan StaleDelay = TimeSpan.FromMilliseconds(1800); // a client gives up after two seconds or more, RFC 8767 §5

    private readonly ConcurrentDictionary<byte[], Task<ForwardResult>> _inFlight = new(WireNameComparer.Instance);
    private readonly Outstanding _leading = new();
    private readonly CancellationTokenSource _stop = new();
    private volatile ServerSet _servers = new([]);
    private int _count;

    public ImmutableArray<UpstreamServer> Servers => _servers.All;

    public ReplyCache Cache { get; } = new(time);

    /// <summary>True while a server is known to send our questions back.</summary>
    public bool Loops => _servers.All.Any(s => s.Loops);

    /// <summary>Replaces the servers; those that stay keep their sockets and what is known of them. <paramref name="fallback"/> only counts when the others are gone.</summary>
    public void UseServers(ImmutableArray<IPEndPoint> endpoints, ImmutableArray<IPEndPoint> fallback = default)
    {
        ImmutableArray<UpstreamServer> old = _servers.All;
        ImmutableArray<UpstreamServer> now = [.. endpoints.Select(e => Find(old, e, isFallback: false)), .. fallback.IsDefault ? [] : fallback.Select(e => Find(old, e, isFallback: true))];
        _servers = new(now);
        Cache.Clear(); // another network may know other names
        foreach (UpstreamServer gone in old.Where(s => !now.Contains(s)))
        {
            _leading.Enter();
            _ = LeaveAsync(gone); // awaited through _leading
        }
    }

    /// <summary>What was asked of a server that has left resolv.conf may still be answered.</summary>
    private async Task LeaveAsync(UpstreamServer gone)
    {
        try { await Task.Delay(options.ForwardTimeout, time, _stop.Token); }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested) { }
        await gone.DisposeAsync();
        _leading.Leave();
    }

    private UpstreamServer Find(ImmutableArray<UpstreamServer> old, IPEndPoint endpoint, bool isFallback) =>
        old.FirstOrDefault(s => s.IsFallback == isFallback && s.Endpoint.Equals(endpoint)) ?? new UpstreamServer(endpoint, isFallback, ports, time, metrics.Mismatched);

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
        byte[]? key = QuestionKey.For(packet, query, tcp);
        if (key is null) { return ExchangeAsync(packet, query, tcp, null); } // 3
        // 2
        var mine = new TaskCompletionSource<ForwardResult>(TaskCreationOptions.RunContinuationsAsynchronously);
        Task<ForwardResult> task = _inFlight.GetOrAdd(key, mine.Task);
        if (task != mine.Task)
        {
            if (Loops) { metrics.Looped(); return Task.FromResult(new ForwardResult(null, AnswerSource.Failed)); } // most likely our own question come back: waiting for it would be waiting for ourselves
            metrics.Coalesced();
            return task;
        }
        _leading.Enter();
        _ = LeadAsync(key, mine, packet, query, tcp); // awaited through _leading
        return task;
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _leading.DrainAsync();
        foreach (UpstreamServer server in _servers.All) { await server.DisposeAsync(); }
        _stop.Dispose();
    }

    private async Task LeadAsync(byte[] key, TaskCompletionSource<ForwardResult> mine, byte[] packet, DnsQuery query, bool tcp)
    {
        byte[] cacheKey = QuestionKey.For(packet, query, tcp: false)!;
        try
        {
            Task<ForwardResult> exchange = ExchangeAsync(packet, query, tcp, cacheKey);
            // 4
            if (Cache.FindStale(cacheKey) is { } stale && !await IsGoodInTimeAsync(exchange)) { mine.TrySetResult(new(stale, AnswerSource.Stale)); }
            // 5
            ForwardResult result = await exchange;
            _inFlight.TryRemove(key, out _); // first: who asks after the answer asks anew
            mine.TrySetResult(result);
        }
        finally
        {
            _inFlight.TryRemove(new(key, mine.Task));
            mine.TrySetResult(default); // nobody is left waiting, whatever happened
            _leading.Leave();
        }
    }

    /// <summary>False after the delay, or when the servers failed before it.</summary>
    private async Task<bool> IsGoodInTimeAsync(Task<ForwardResult> exchange)
    {
        try
        {
            ForwardResult result = await exchange.WaitAsync(StaleDelay, time);
            return result.Message is { Length: > 3 } message && (message[3] & DnsHeader.RcodeMask) is DnsRcode.NoError or DnsRcode.NxDomain;
        }
        catch (TimeoutException)
        {
            return false;
        }
    }

    private async Task<ForwardResult> ExchangeAsync(byte[] packet, DnsQuery query, bool tcp, byte[]? cacheKey)
    {
        metrics.UpstreamAsked();
        if (Interlocked.Increment(ref _count) > MaxInFlight || _stop.IsCancellationRequested)
        {
            Interlocked.Decrement(ref _count);
            metrics.UpstreamFailed();
            return default;
        }
        long begin = time.GetTimestamp();
        try
        {
            var exchange = new UpstreamExchange(_servers.All, options.ForwardTimeout, options.ForwardParallel, time);
            ExchangeResult done = await exchange.RunAsync(QuestionKey.WithoutHopOptions(packet, query), query.Question, tcp, _stop.Token);
            if (done.Message is null) { metrics.UpstreamFailed(); }
            else if (cacheKey is not null) { Cache.Store(cacheKey, done.Message, fromLocal: IPAddress.IsLoopback(done.Server!.Endpoint.Address)); }
            return new(done.Message, done.Message is null ? AnswerSource.Failed : AnswerSource.Upstream);
        }
        finally
        {
            metrics.UpstreamTook(time.GetElapsedTime(begin));
            Interlocked.Decrement(ref _count);
        }
    }

    private sealed record ServerSet(ImmutableArray<UpstreamServer> All);
}

/// <summary>A message from upstream, the cache or nowhere (null).</summary>
internal readonly record struct ForwardResult(byte[]? Message, AnswerSource Source);
