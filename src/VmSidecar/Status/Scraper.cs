using System.Net;
using System.Net.Sockets;

using VmSidecar.Linux.Sockets;

namespace VmSidecar.Status;

/// <summary>What is passed on from the scraper's request.</summary>
internal sealed record ScrapeRequest(string UserAgent, string Timeout)
{
    public string Accept { get; init; } = AcceptHeader.PlainText;
}

/// <summary>One source's page.</summary>
/// <param name="Body">The bytes.</param>
/// <param name="Format">The content type to answer with.</param>
internal sealed record ScrapePart(ReadOnlyMemory<byte> Body, string Format)
{
    /// <summary>The body without a trailing <c># EOF</c>, ending in one line break.</summary>
    public ReadOnlyMemory<byte> WithoutEnd()
    {
        ReadOnlySpan<byte> rest = Body.Span.TrimEnd(" \t\r\n"u8);
        if (rest.EndsWith("# EOF"u8)) { rest = rest[..^"# EOF"u8.Length].TrimEnd(" \t\r\n"u8); }
        return rest.IsEmpty ? ReadOnlyMemory<byte>.Empty : (byte[])[.. rest, (byte)'\n'];
    }
}

/// <summary>Fetches one source on this host.</summary>
internal interface IScraper
{
    /// <summary>The page, or why there is none. Never throws but for the caller's own cancellation being a problem text too.</summary>
    Task<(ScrapePart? Part, string? Problem)> GetAsync(int port, string pathAndQuery, ScrapeRequest request, CancellationToken cancel);
}

/// <summary>The scraper over HTTP to localhost. IPv4 is tried where IPv6 refuses: Envoy's metrics listener is IPv4 only, and <c>localhost</c> may be ::1 first.</summary>
internal sealed class Scraper : IScraper, IDisposable
{
    private const int MaxBody = 64 * 1024 * 1024; // a page is held in memory until all parts are there
    private readonly HttpMessageInvoker _http = new(new SocketsHttpHandler
    {
        UseProxy = false,
        UseCookies = false,
        ConnectCallback = ConnectAsync,
        PooledConnectionIdleTimeout = TimeSpan.FromSeconds(30),
    });

    public async Task<(ScrapePart? Part, string? Problem)> GetAsync(int port, string pathAndQuery, ScrapeRequest request, CancellationToken cancel)
    {
        try
        {
            using var message = new HttpRequestMessage(HttpMethod.Get, $"http://localhost:{port}{pathAndQuery}");
            message.Headers.TryAddWithoutValidation("Accept", request.Accept);
            if (request.UserAgent.Length > 0) { message.Headers.TryAddWithoutValidation("User-Agent", request.UserAgent); }
            if (request.Timeout.Length > 0) { message.Headers.TryAddWithoutValidation("X-Prometheus-Scrape-Timeout-Seconds", request.Timeout); }
            using HttpResponseMessage response = await _http.SendAsync(message, cancel);
            if (response.StatusCode != HttpStatusCode.OK) { return (null, $"error scraping {message.RequestUri}, status code: {(int)response.StatusCode}"); }
            using var body = new MemoryStream();
            await using Stream content = await response.Content.ReadAsStreamAsync(cancel);
            await CopyAsync(content, body, cancel);
            return (new ScrapePart(body.GetBuffer().AsMemory(0, (int)body.Length), FormatOf(response)), null);
        }
        catch (OperationCanceledException)
        {
            return (null, $"error scraping http://localhost:{port}{pathAndQuery}: context deadline exceeded");
        }
        catch (Exception e) when (PeerFailure.Is(e) || e is UriFormatException)
        {
            return (null, $"error scraping http://localhost:{port}{pathAndQuery}: {e.Message}");
        }
    }

    public void Dispose() => _http.Dispose();

    private static async Task CopyAsync(Stream from, MemoryStream to, CancellationToken cancel)
    {
        byte[] buffer = new byte[64 * 1024];
        int count;
        while ((count = await from.ReadAsync(buffer, cancel)) > 0)
        {
            if (to.Length + count > MaxBody) { throw new IOException($"the page is larger than {MaxBody} bytes"); }
            to.Write(buffer, 0, count);
        }
    }

    private static string FormatOf(HttpResponseMessage response)
    {
        System.Net.Http.Headers.MediaTypeHeaderValue? type = response.Content.Headers.ContentType;
        if (type?.MediaType != "application/openmetrics-text") { return "text/plain; version=0.0.4; charset=utf-8"; }
        string version = type.Parameters.FirstOrDefault(p => p.Name == "version")?.Value == "1.0.0" ? "1.0.0" : "0.0.1";
        return $"application/openmetrics-text; version={version}; charset=utf-8";
    }

    private static async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancel)
    {
        Exception? last = null;
        foreach (IPAddress address in (IPAddress[])[IPAddress.Loopback, IPAddress.IPv6Loopback])
        {
            var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                await socket.ConnectAsync(new IPEndPoint(address, context.DnsEndPoint.Port), cancel);
                return new NetworkStream(socket, ownsSocket: true);
            }
            catch (SocketException e)
            {
                socket.Dispose();
                last ??= e;
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }
        throw last!;
    }
}
