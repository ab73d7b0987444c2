using System.Collections.Immutable;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>What one forwarded question came to; <c>Message</c> null: no server answered at all.</summary>
internal readonly record struct ExchangeResult(byte[]? Message, UpstreamServer? Server, int Asks);

/// <summary>Whom one question is asked of: first the servers in order, in the end the spare ones.</summary>
internal readonly record struct ServerPlan(ImmutableArray<UpstreamServer> Order, ImmutableArray<UpstreamServer> Spare);

/// <summary>
/// Asks the servers for one question. Stages: 1 the first server; 2 after the hedge delay, or at once after a failure, the next one, while
/// earlier ones may still answer; 3 further rounds, each asked at twice the pace of the next, for lost packets; 4 the first good answer ends
/// all; 5 servers that are a fallback only when the others are gone or silent. Made by the forwarder per question.
/// </summary>
internal sealed class UpstreamExchange(ImmutableArray<UpstreamServer> servers, TimeSpan timeout, bool parallel, TimeProvider time)
{
    public static readonly TimeSpan HedgeDelay = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan SlowestPace = TimeSpan.FromSeconds(1);   // between asks, however often they were lost
    private static readonly TimeSpan FallbackDelay = TimeSpan.FromSeconds(2);  // a stub that is merely slow knows better than the servers behind it
    private static readonly TimeSpan AfterFailure = TimeSpan.FromSeconds(1);  // how long a better answer may take once a server has failed

    private readonly List<Task<AskResult>> _open = [];
    private int _asks;

    /// <summary>Never throws; ends within the timeout. With <paramref name="sent"/> the first server has been asked already, and time has run since.</summary>
    public async Task<ExchangeResult> RunAsync(byte[] query, DnsQuestion question, bool tcp, SentAsk? sent, CancellationToken stop)
    {
        (ImmutableArray<UpstreamServer> order, ImmutableArray<UpstreamServer> spare) = sent?.Plan ?? Plan(servers);
        if (order.IsEmpty) { return default; }
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop);
        long begin = sent?.Begin ?? time.GetTimestamp();
        TimeSpan budget = timeout;
        AskResult failure = default;
        bool mayAsk = sent is null || !sent.Ask.HasEnded; // an answer that is there is looked at before anybody else is asked
        if (sent is not null) { Resume(order, query, sent, end.Token); }
        while (true)
        {
            // 1, 2, 3
            bool exhausted = _asks >= order.Length && _open.Count == 0;
            if (spare.Length > 0 && failure.Message is null && (exhausted || time.GetElapsedTime(begin) >= FallbackDelay)) // 5
            {
                (order, spare, _asks, exhausted) = (spare, [], 0, false);
            }
            if (exhausted || stop.IsCancellationRequested) { break; }
            if (!mayAsk) { mayAsk = true; }
            else if (parallel) { while (_asks < order.Length) { Ask(order, query, question, tcp, end.Token); } }
            else if (_asks < order.Length || failure.Message is null) { Ask(order, query, question, tcp, end.Token); }
            AskResult? ended = await NextAsync(Delay(_asks, order.Length), budget - time.GetElapsedTime(begin), stop);
            if (ended is not { } result)
            {
                if (time.GetElapsedTime(begin) >= budget || stop.IsCancellationRequested) { break; }
                continue;
            }
            // 4
            if (IsGood(result)) { failure = result; break; }
            if (result.Message is null || failure.Message is not null) { continue; }
            failure = result;
            budget = Min(budget, time.GetElapsedTime(begin) + AfterFailure);
        }
        await end.CancelAsync();
        await Task.WhenAll(_open);
        return new(failure.Message, failure.Server, _asks);
    }

    /// <summary>The servers to ask, in order, and those to turn to when these are gone or silent.</summary>
    public static ServerPlan Plan(ImmutableArray<UpstreamServer> servers)
    {
        bool mixed = servers.Any(s => s.Loops) && servers.Any(s => !s.Loops); // who asks us cannot know better
        ImmutableArray<UpstreamServer> order = InOrder(mixed ? [.. servers.Where(s => !s.Loops)] : servers);
        bool split = order.Any(s => s.IsFallback) && !order.Where(s => !s.IsFallback).All(s => s.Health.IsDown);
        return split ? new([.. order.Where(s => !s.IsFallback)], [.. order.Where(s => s.IsFallback)]) : new(order, []);
    }

    /// <summary>File order, servers that are down or that send our questions back last, but for the one question that tries a server again. Pure but for their state.</summary>
    public static ImmutableArray<UpstreamServer> InOrder(ImmutableArray<UpstreamServer> servers)
    {
        if (servers.Length < 2 || !servers.Any(s => s.Health.IsDown || s.Loops)) { return servers; }
        return [.. servers.OrderBy(s => s.Loops || (s.Health.IsDown && !s.TakeTrial()) ? 1 : 0)]; // OrderBy is stable
    }

    /// <summary>NOERROR and NXDOMAIN are answers; SERVFAIL, REFUSED, NOTIMP and the rest are this server's trouble, and another may know better.</summary>
    private static bool IsGood(AskResult result) =>
        result.Message is not null && DnsHeader.TryRead(result.Message, out DnsHeader header) && header.Rcode is DnsRcode.NoError or DnsRcode.NxDomain;

    private void Ask(ImmutableArray<UpstreamServer> order, byte[] query, DnsQuestion question, bool tcp, CancellationToken end)
    {
        UpstreamServer server = order[_asks % order.Length];
        _open.Add(_asks++ < order.Length ? server.AskAsync(query, question, tcp, end) : server.AskAgainAsync(query, question, tcp, end));
    }

    private void Resume(ImmutableArray<UpstreamServer> order, byte[] query, SentAsk sent, CancellationToken end)
    {
        _asks = 1;
        _open.Add(order[0].ResumeAsync(query, sent, end));
    }

    /// <summary>How long to wait for an answer after so many asks of so many servers.</summary>
    public static TimeSpan Delay(int asks, int count) => Min(HedgeDelay * (1 << Math.Min(asks / count, 4)), SlowestPace);

    /// <summary>The next ask that ended, or null after the delay.</summary>
    private async Task<AskResult?> NextAsync(TimeSpan delay, TimeSpan left, CancellationToken stop)
    {
        if (left <= TimeSpan.Zero) { return null; }
        Task<Task<AskResult>> any = Task.WhenAny(_open);
        if (!any.IsCompleted)
        {
            try { await any.WaitAsync(Min(delay, left), time, stop); }
            catch (TimeoutException) { return null; }
            catch (OperationCanceledException) when (stop.IsCancellationRequested) { return null; }
        }
        Task<AskResult> ended = await any;
        _open.Remove(ended);
        return await ended;
    }

    private static TimeSpan Min(TimeSpan a, TimeSpan b) => a < b ? a : b;
}
