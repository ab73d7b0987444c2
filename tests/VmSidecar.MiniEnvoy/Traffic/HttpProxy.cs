using System.Globalization;
using System.Security.Cryptography.X509Certificates;
using System.Text;

using VmSidecar.EnvoyApi.Http;
using VmSidecar.EnvoyApi.Routes;
using VmSidecar.MiniEnvoy.Observed;
using VmSidecar.MiniEnvoy.Resources;

namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>
/// Envoy's HTTP connection manager and router for HTTP/1.1: for each request of a kept-alive connection (1) read and check the head,
/// (2) route, (3) connect, (4) send with the headers a mesh adds, (5) pass the answer back. A connection upstream serves one request.
/// </summary>
internal sealed class HttpProxy(ClusterSet clusters, DrainState drain, AccessLog access)
{
    private static readonly TimeSpan DefaultTimeout = TimeSpan.FromSeconds(15);
    private static readonly string[] HopByHop = ["keep-alive", "proxy-connection"];

    public async Task RunAsync(Downstream downstream, Func<RouteConfiguration?> routes, CancellationToken stop)
    {
        var reader = new HttpReader(downstream.Connection.Stream);
        bool goesOn = true;
        while (goesOn)
        {
            var exchange = new HttpExchange { Begin = TimeProvider.System.GetTimestamp() };
            try
            {
                if (await reader.ReadHeadAsync(stop) is not { } request) { return; }
                exchange.Request = request;
                goesOn = await ServeAsync(downstream, reader, exchange, routes(), stop);
            }
            catch (BadMessageException e)
            {
                exchange.Detail = e.Message;
                await ReplyAsync(downstream, exchange, 400, "Bad Request", "", close: true, stop);
                goesOn = false;
            }
            finally { exchange.Log(access, downstream); }
        }
    }

    private async Task<bool> ServeAsync(Downstream downstream, HttpReader reader, HttpExchange exchange, RouteConfiguration? routes, CancellationToken stop)
    {
        HttpHead request = exchange.Request!; // 1
        string[] words = request.Words;
        if (words.Length != 3) { throw new BadMessageException("http1.codec_error"); }
        if (words[2] == "HTTP/1.0") { return await ReplyAsync(downstream, exchange, 426, "Upgrade Required", "", close: true, stop); }
        if (words[2] != "HTTP/1.1" || request["host"] is not { } authority) { throw new BadMessageException("http1.codec_error"); }
        if (request.IsChunked && request.Length is not null) { throw new BadMessageException("http1.content_length_and_chunked_not_allowed"); }
        bool body = request.IsChunked || request.Length is > 0;
        bool last = request.Has("connection", "close");
        Route? route = routes is null ? null : RouteTable.Find(routes, authority, request, words[1]); // 2
        if (route is { DirectResponse: { } direct }) { return await ReplyAsync(downstream, exchange, (int)direct.Status, "", direct.Body?.InlineString ?? "", last || body, stop); }
        if (route is null || RouteTable.ClusterOf(route.Route_, request) is not { } name) { return await ReplyAsync(downstream, exchange, 404, "Not Found", "", last || body, stop); }
        (exchange.Cluster, exchange.Route) = (name, route.Name);
        if (clusters.Find(name) is not { } cluster) { return await ReplyAsync(downstream, exchange, 503, "Service Unavailable", "", last || body, stop, "NC"); }
        int retries = route.Route_.RetryPolicy?.RetryOn.Contains("connect-failure", StringComparison.Ordinal) == true ? (int)(route.Route_.RetryPolicy.NumRetries ?? 1) : 0;
        (Duplex? upstream, Upstream? host, string failure) = await UpstreamConnector.ConnectAsync(cluster, downstream.Destination, retries, stop); // 3
        exchange.Host = host?.Text ?? "-";
        if (upstream is null) { return await ReplyAsync(downstream, exchange, 503, "Service Unavailable", failure, last || body, stop, host is null ? "UH" : "UF,URX"); }
        await using (upstream)
        {
            TimeSpan timeout = route.Route_.Timeout?.ToTimeSpan() ?? DefaultTimeout;
            return await ExchangeAsync(downstream, reader, exchange, upstream, timeout, stop) && !last;
        }
    }

    /// <summary>Sends the request and passes the answer back. False: the downstream connection ends with it.</summary>
    private async Task<bool> ExchangeAsync(Downstream downstream, HttpReader reader, HttpExchange exchange, Duplex upstream, TimeSpan timeout, CancellationToken stop)
    {
        HttpHead request = exchange.Request!;
        (bool chunked, long? length) = (request.IsChunked, request.Length ?? 0);
        bool upgrade = request.Has("connection", "upgrade");
        Edit(downstream, request, upgrade);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop);
        await upstream.Stream.WriteAsync(request.ToBytes(), end.Token); // 4
        Task<long> sending = reader.CopyBodyAsync(upstream.Stream, chunked, length, end.Token);
        var answers = new HttpReader(upstream.Stream);
        HttpHead? answer;
        using (var limit = CancellationTokenSource.CreateLinkedTokenSource(end.Token))
        {
            if (timeout > TimeSpan.Zero) { limit.CancelAfter(timeout); }
            try { answer = await FinalAsync(answers, downstream, upgrade, limit.Token); }
            catch (OperationCanceledException) when (!stop.IsCancellationRequested)
            {
                await GiveUpAsync(sending, end);
                return await ReplyAsync(downstream, exchange, 504, "Gateway Timeout", "upstream request timeout", close: true, stop, "UT");
            }
            catch (Exception e) when (e is IOException or BadMessageException) { answer = null; }
        }
        if (answer is null)
        {
            await GiveUpAsync(sending, end);
            return await ReplyAsync(downstream, exchange, 503, "Service Unavailable", "upstream connect error or disconnect/reset before headers. reset reason: connection termination", close: true, stop, "UC");
        }
        if (upgrade && answer.Words[1] == "101") { await TunnelAsync(downstream, reader, upstream, answers, answer, end.Token); return false; }
        bool goesOn = await AnswerAsync(downstream, exchange, answers, answer, stop); // 5
        if (!sending.IsCompletedSuccessfully) // answered before the request was all there
        {
            await GiveUpAsync(sending, end);
            return false;
        }
        exchange.Received = await sending;
        return goesOn;
    }

    /// <summary>Interim answers (RFC 9110 §15.2) go straight through.</summary>
    private static async Task<HttpHead?> FinalAsync(HttpReader answers, Downstream downstream, bool upgrade, CancellationToken stop)
    {
        while (await answers.ReadHeadAsync(stop) is { } head)
        {
            if (head.Words is not [_, ['1', ..] code, ..] || (upgrade && code == "101")) { return head; }
            await downstream.Connection.Stream.WriteAsync(head.ToBytes(), stop);
        }
        return null;
    }

    private async Task<bool> AnswerAsync(Downstream downstream, HttpExchange exchange, HttpReader answers, HttpHead answer, CancellationToken stop)
    {
        string code = answer.Words[1];
        exchange.Code = int.TryParse(code, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : 0;
        bool bodiless = exchange.Request!.Words[0] == "HEAD" || code is "204" or "304";
        bool framed = bodiless || answer.IsChunked || answer.Length is not null;
        bool close = !framed || exchange.Request.Has("connection", "close") || drain.Closes(downstream.Listener.IsInbound);
        foreach (string name in HopByHop) { answer.Set(name, null); }
        answer.Set("connection", close ? "close" : null);
        answer.Set("server", ServerName(downstream));
        answer.Set("x-envoy-upstream-service-time", Math.Round(TimeProvider.System.GetElapsedTime(exchange.Begin).TotalMilliseconds).ToString(CultureInfo.InvariantCulture));
        (bool chunked, long? length) = (answer.IsChunked, answer.Length);
        await downstream.Connection.Stream.WriteAsync(answer.ToBytes(), stop);
        exchange.Sent = bodiless ? 0 : await answers.CopyBodyAsync(downstream.Connection.Stream, chunked, length, stop);
        return !close;
    }

    private static async Task TunnelAsync(Downstream downstream, HttpReader reader, Duplex upstream, HttpReader answers, HttpHead answer, CancellationToken stop)
    {
        await downstream.Connection.Stream.WriteAsync(answer.ToBytes(), stop);
        await downstream.Connection.Stream.WriteAsync(answers.TakeRest(), stop);
        await upstream.Stream.WriteAsync(reader.TakeRest(), stop);
        await TcpRelay.PumpAsync(downstream.Connection, upstream, stop);
    }

    /// <summary>Takes off what only concerns this hop or what a client must not say, adds what a mesh adds.</summary>
    private static void Edit(Downstream downstream, HttpHead request, bool upgrade)
    {
        foreach (string name in HopByHop) { request.Set(name, null); }
        if (!upgrade) { request.Set("connection", null); request.Set("upgrade", null); }
        HttpConnectionManager config = downstream.Chain.Http!;
        string? forwarded = request["x-forwarded-client-cert"];
        X509Certificate2? peer = downstream.Peer;
        string? own = peer is null ? null : PeerIdentity.ForwardedElement(downstream.Chain.Tls?.OwnIdentity ?? "", peer);
        request.Set("x-forwarded-client-cert", config.ForwardClientCertDetails switch
        {
            HttpConnectionManager.Types.ForwardClientCertDetails.AlwaysForwardOnly => forwarded,
            HttpConnectionManager.Types.ForwardClientCertDetails.ForwardOnly => peer is null ? null : forwarded,
            HttpConnectionManager.Types.ForwardClientCertDetails.AppendForward => own is null ? null : forwarded is null ? own : $"{forwarded},{own}",
            HttpConnectionManager.Types.ForwardClientCertDetails.SanitizeSet => own,
            _ => null,
        });
        if (request["x-forwarded-proto"] is null) { request.Set("x-forwarded-proto", peer is null ? "http" : "https"); }
        if (request["x-request-id"] is null) { request.Set("x-request-id", Guid.NewGuid().ToString()); }
    }

    private async Task<bool> ReplyAsync(Downstream downstream, HttpExchange exchange, int code, string reason, string text, bool close, CancellationToken stop, string flags = "-")
    {
        close |= drain.Closes(downstream.Listener.IsInbound);
        (exchange.Code, exchange.Flags, exchange.Sent) = (code, flags, text.Length);
        var head = new HttpHead(string.Create(CultureInfo.InvariantCulture, $"HTTP/1.1 {code} {reason}"));
        byte[] body = exchange.Request?.Words[0] == "HEAD" ? [] : Encoding.UTF8.GetBytes(text);
        head.Add("content-length", Encoding.UTF8.GetByteCount(text).ToString(CultureInfo.InvariantCulture));
        if (text.Length > 0) { head.Add("content-type", "text/plain"); }
        head.Add("date", TimeProvider.System.GetUtcNow().ToString("R", CultureInfo.InvariantCulture));
        head.Add("server", ServerName(downstream));
        if (close) { head.Add("connection", "close"); }
        await downstream.Connection.Stream.WriteAsync((byte[])[.. head.ToBytes(), .. body], stop);
        return !close;
    }

    private static string ServerName(Downstream downstream) => downstream.Chain.Http!.ServerName is { Length: > 0 } name ? name : "envoy";

    private static async Task GiveUpAsync(Task sending, CancellationTokenSource end)
    {
        await end.CancelAsync();
        try { await sending; }
        catch (Exception e) when (e is IOException or OperationCanceledException or BadMessageException or ObjectDisposedException) { } // the answer counts, not the rest of the request
    }
}
