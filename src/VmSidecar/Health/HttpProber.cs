using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using System.Net.Sockets;

using VmSidecar.Configuration;
using VmSidecar.Linux.Sockets;

namespace VmSidecar.Health;

/// <summary>
/// httpGet: healthy from 200 to 399 after redirects. From 127.0.0.6 (::6 on an IPv6-only host), which capture rules let
/// pass to the application untouched. A connection per probe. Owned by HealthChecker.
/// </summary>
internal sealed class HttpProber : IProber, IDisposable
{
    private const int MostRequests = 10; // the tenth redirect is not followed
    private const int MostOfLocation = 100; // characters in a message
    private readonly HttpMessageInvoker _http;
    private readonly Uri? _uri; // null: host, port and path make none
    private readonly string _address;
    private readonly HttpProbe _probe;
    private readonly TimeSpan _timeout;
    private readonly TimeProvider _time;
    private string _dialled = "";

    /// <param name="probe">The action.</param>
    /// <param name="options">Timeout and default host.</param>
    /// <param name="source">Address to come from; null: the kernel's choice.</param>
    /// <param name="time">Clock of the timeout.</param>
    [SuppressMessage("Security", "CA5359", Justification = "As a kubelet: the probe asks whether the application works; it sends nothing secret, and the certificate need not be meant for this address")]
    public HttpProber(HttpProbe probe, ProbeOptions options, IPAddress? source, TimeProvider time)
    {
        _probe = probe;
        _timeout = options.Timeout;
        _time = time;
        string host = string.IsNullOrEmpty(probe.Host) ? options.DefaultHost : probe.Host;
        _address = $"{probe.Scheme.ToLowerInvariant()}://{GoErrors.Join(host, probe.Port)}{PathOf(probe.Path)}";
        _uri = Uri.TryCreate(_address, UriKind.Absolute, out Uri? address) ? address : null;
        _http = new HttpMessageInvoker(new SocketsHttpHandler
        {
            UseProxy = false,
            UseCookies = false,
            AllowAutoRedirect = false, // followed below: http to https is allowed, which the handler refuses
            PooledConnectionLifetime = TimeSpan.Zero,
            ConnectCallback = (context, cancel) => ConnectAsync(context, source, cancel),
            SslOptions = new SslClientAuthenticationOptions { RemoteCertificateValidationCallback = AcceptAny },
        });
    }

    public async Task<string?> ProbeAsync(CancellationToken stop)
    {
        if (_uri is null) { return $"parse \"{_address}\": invalid character in host name"; }
        using var deadline = new CancellationTokenSource(_timeout, _time);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop, deadline.Token);
        try
        {
            return await FollowAsync(_uri, both.Token);
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return $"Get \"{_uri}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        }
        catch (Exception e) when (PeerFailure.Is(e) || e is FormatException) // the last: a header that cannot be sent
        {
            return $"Get \"{_uri}\": {Describe(e)}";
        }
    }

    public void Dispose() => _http.Dispose();

    /// <summary>The status decides; the body is not read, because one that never ends says nothing about health.</summary>
    private async Task<string?> FollowAsync(Uri uri, CancellationToken cancel)
    {
        bool hostKept = true;
        for (int requests = 0; requests < MostRequests; requests++)
        {
            using HttpRequestMessage request = Request(uri, hostKept);
            using HttpResponseMessage response = await _http.SendAsync(request, cancel);
            int status = (int)response.StatusCode;
            if (status is 301 or 302 or 303 or 307 or 308 && response.Headers.NonValidated.TryGetValues("Location", out HeaderStringValues given) && given.ToString() is { Length: > 0 } text)
            {
                if (response.Headers.Location is not { } location || !Uri.TryCreate(uri, location, out Uri? next)) { return $"Get \"{uri}\": failed to parse Location header \"{Printable(text)}\""; }
                hostKept &= !location.IsAbsoluteUri; // a Host of the probe's own is for that server only
                uri = next;
                if (uri.Scheme is not ("http" or "https")) { return $"Get \"{uri}\": unsupported protocol scheme \"{uri.Scheme}\""; }
                continue;
            }
            return status is >= 200 and < 400 ? null : string.Create(CultureInfo.InvariantCulture, $"status code was not from [200,400), bad code {status}");
        }
        return $"Get \"{uri}\": stopped after {MostRequests} redirects";
    }

    private HttpRequestMessage Request(Uri uri, bool hostKept)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, uri);
        request.Headers.ConnectionClose = true;
        bool elsewhere = uri.Host != _uri!.Host;
        foreach ((string name, string value) in _probe.Headers)
        {
            if (value.AsSpan().ContainsAny('\r', '\n', '\0')) { throw new FormatException($"net/http: invalid header field value for \"{name}\""); }
            if (name == "Host") { request.Headers.Host = hostKept ? value : null; }
            else if (!elsewhere || !IsSecret(name)) { request.Headers.TryAddWithoutValidation(name, value); }
        }
        if (!_probe.Headers.Any(h => h.Key == "User-Agent")) { request.Headers.TryAddWithoutValidation("User-Agent", "istio-probe/1.0"); }
        return request;
    }

    /// <summary>Of the application's making, and bound for the log and istiod.</summary>
    private static string Printable(string location) => string.Concat(location.Take(MostOfLocation).Select(c => char.IsControl(c) ? '?' : c));

    private static bool IsSecret(string header) =>
        header.Equals("Authorization", StringComparison.OrdinalIgnoreCase) || header.Equals("Cookie", StringComparison.OrdinalIgnoreCase) || header.Equals("WWW-Authenticate", StringComparison.OrdinalIgnoreCase);

    /// <summary>The path is a URL reference of which only path and query count: scheme, host and port are the probe's.</summary>
    private static string PathOf(string path)
    {
        if (path.StartsWith('/')) { return path; }
        return Uri.TryCreate(path, UriKind.Absolute, out Uri? whole) && whole.Scheme is "http" or "https" ? whole.PathAndQuery : "/" + path;
    }

    private static bool AcceptAny(object sender, System.Security.Cryptography.X509Certificates.X509Certificate? certificate, System.Security.Cryptography.X509Certificates.X509Chain? chain, SslPolicyErrors errors) => true;

    private async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, IPAddress? source, CancellationToken cancel)
    {
        _dialled = GoErrors.Join(context.DnsEndPoint.Host.Trim('[', ']'), context.DnsEndPoint.Port);
        return new NetworkStream(await ProbeSocket.ConnectAsync(context.DnsEndPoint.Host.Trim('[', ']'), context.DnsEndPoint.Port, source, cancel), ownsSocket: true);
    }

    private string Describe(Exception e)
    {
        for (Exception? cause = e; cause is not null; cause = cause.InnerException)
        {
            if (cause is SocketException socket) { return GoErrors.Dial(_dialled, socket); }
        }
        return e is HttpRequestException { HttpRequestError: HttpRequestError.ResponseEnded } ? "EOF" : e.Message;
    }
}
