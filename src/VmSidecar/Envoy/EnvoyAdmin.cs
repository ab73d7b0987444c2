using System.Globalization;
using System.Net;
using System.Net.Sockets;

using VmSidecar.Configuration;
using VmSidecar.Linux.Sockets;

namespace VmSidecar.Envoy;

/// <summary>What Envoy's admin answered, or why it did not.</summary>
/// <param name="Body">The text; null when there is none.</param>
/// <param name="Problem">In pilot-agent's words; null for a 200.</param>
internal readonly record struct AdminReply(string? Body, string? Problem);

/// <summary>Client of Envoy's admin port on loopback. One per agent; connections live briefly, so a new Envoy is never asked over an old one's.</summary>
internal sealed class EnvoyAdmin(EnvoyOptions options, TimeProvider time) : IDisposable
{
    /// <summary>Largest reply that is read, bytes: the filtered statistics asked for here are a few hundred.</summary>
    private const int MaxReply = 4 * 1024 * 1024;

    private readonly HttpMessageInvoker _http = new(new SocketsHttpHandler
    {
        UseProxy = false,
        AllowAutoRedirect = false,
        UseCookies = false,
        PooledConnectionLifetime = TimeSpan.FromSeconds(15),
        PooledConnectionIdleTimeout = TimeSpan.FromSeconds(5),
    });

    /// <summary><c>127.0.0.1:15000</c>, or <c>[::1]:15000</c>.</summary>
    public string Authority { get; } = string.Create(CultureInfo.InvariantCulture,
        $"{(options.Localhost.Contains(':', StringComparison.Ordinal) ? $"[{options.Localhost}]" : options.Localhost)}:{options.AdminPort}");

    /// <summary>GET, 200 or a problem.</summary>
    public Task<AdminReply> GetAsync(string pathAndQuery, TimeSpan timeout, CancellationToken stop) => SendAsync(HttpMethod.Get, pathAndQuery, timeout, stop);

    /// <summary>POST with an empty body, 200 or a problem.</summary>
    public Task<AdminReply> PostAsync(string pathAndQuery, TimeSpan timeout, CancellationToken stop) => SendAsync(HttpMethod.Post, pathAndQuery, timeout, stop);

    public void Dispose() => _http.Dispose();

    private async Task<AdminReply> SendAsync(HttpMethod method, string pathAndQuery, TimeSpan timeout, CancellationToken stop)
    {
        using var deadline = new CancellationTokenSource(timeout, time);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop, deadline.Token);
        using var request = new HttpRequestMessage(method, $"http://{Authority}{pathAndQuery}");
        if (method == HttpMethod.Post) { request.Content = new ByteArrayContent([]); }
        try
        {
            using HttpResponseMessage response = await _http.SendAsync(request, both.Token);
            string body = await ReadAsync(response, both.Token);
            return response.StatusCode == HttpStatusCode.OK
                ? new AdminReply(body, null)
                : new AdminReply(body, string.Create(CultureInfo.InvariantCulture, $"unexpected status {(int)response.StatusCode}"));
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return new AdminReply(null, Problem(method, pathAndQuery, "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"));
        }
        catch (Exception e) when (PeerFailure.Is(e))
        {
            return new AdminReply(null, Problem(method, pathAndQuery, Describe(e)));
        }
    }

    private static async Task<string> ReadAsync(HttpResponseMessage response, CancellationToken cancel)
    {
        await using Stream content = await response.Content.ReadAsStreamAsync(cancel);
        using var reader = new StreamReader(content);
        char[] buffer = new char[8192];
        var text = new System.Text.StringBuilder();
        int count;
        while (text.Length < MaxReply && (count = await reader.ReadAsync(buffer, cancel)) > 0) { text.Append(buffer, 0, count); }
        return text.ToString();
    }

    /// <summary>The form of Go's url.Error, which istiod shows as the reason of an unhealthy workload: <c>Get "URL": dial tcp …</c> with backslashes doubled.</summary>
    private string Problem(HttpMethod method, string pathAndQuery, string reason)
    {
        string verb = method == HttpMethod.Get ? "Get" : "Post";
        return $"{verb} \"http://{Authority}{pathAndQuery.Replace("\\", "\\\\", StringComparison.Ordinal)}\": {reason}";
    }

    private string Describe(Exception e)
    {
        for (Exception? cause = e; cause is not null; cause = cause.InnerException)
        {
            if (cause is SocketException socket)
            {
                return socket.SocketErrorCode switch
                {
                    SocketError.ConnectionRefused => $"dial tcp {Authority}: connect: connection refused",
                    SocketError.ConnectionReset => "read: connection reset by peer",
                    _ => $"dial tcp {Authority}: {socket.Message}",
                };
            }
        }
        return e is HttpRequestException { HttpRequestError: HttpRequestError.ResponseEnded } ? "EOF" : e.Message;
    }
}
