using System.Net.Sockets;

using VmSidecar.Linux.Sockets;

namespace VmSidecar.Commands;

/// <summary>HTTP to this host's own ports, for the verbs. No proxy settings, no redirects.</summary>
internal static class LocalHttp
{
    /// <summary>A client; the caller disposes it.</summary>
    public static HttpMessageInvoker Create() => new(new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false, UseCookies = false });

    /// <summary>Status and body, or a problem in one line.</summary>
    public static async Task<(int Status, string Body, string? Problem)> SendAsync(
        HttpMessageInvoker http, HttpRequestMessage request, TimeSpan timeout, TimeProvider time, CancellationToken stop)
    {
        using var deadline = new CancellationTokenSource(timeout, time);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop, deadline.Token);
        try
        {
            using HttpResponseMessage response = await http.SendAsync(request, both.Token);
            return ((int)response.StatusCode, await response.Content.ReadAsStringAsync(both.Token), null);
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return (0, "", $"no answer from {request.RequestUri!.Authority} within {timeout.TotalSeconds:0.###} s");
        }
        catch (Exception e) when (PeerFailure.Is(e) || e is InvalidOperationException or NotSupportedException) // the last two: of a charset nobody knows
        {
            return (0, "", Describe(e, request.RequestUri!));
        }
    }

    private static string Describe(Exception e, Uri uri) => e.InnerException is SocketException { SocketErrorCode: SocketError.ConnectionRefused }
        ? $"nothing listens on {uri.Authority} (connection refused)"
        : $"{uri.Authority}: {e.Message}";
}
