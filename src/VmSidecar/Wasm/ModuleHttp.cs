using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using System.Security.Cryptography;

using VmSidecar.Configuration;
using VmSidecar.Linux.Sockets;

namespace VmSidecar.Wasm;

/// <summary>
/// HTTP for fetches: guarded addresses, at each redirect again, a limit on what is read, several attempts with growing pauses where trying again can help (the
/// transport failed, or 5xx). One for hosts whose certificate is checked, one for those where it is not. Owned by <see cref="WasmModules"/>.
/// </summary>
internal sealed class ModuleHttp : IDisposable
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(500);

    private const int MaxRedirects = 10;

    private readonly WasmOptions _options;
    private readonly TimeProvider _time;
    private readonly AddressGuard _guard;
    private readonly HttpMessageInvoker _strict, _lax;

    public ModuleHttp(WasmOptions options, TimeProvider time)
    {
        (_options, _time) = (options, time);
        _guard = new AddressGuard(options.Blocked);
        _strict = new HttpMessageInvoker(Handler(_guard, check: true));
        _lax = new HttpMessageInvoker(Handler(_guard, check: false));
    }

    /// <summary>True where WASM_INSECURE_REGISTRIES names the host, with or without its port, or all.</summary>
    public bool IsInsecure(Uri uri) => _options.InsecureRegistries.Any(r => r == "*" || r == uri.Host || r == uri.Authority);

    /// <summary>The response, its body not read; the caller disposes it. Throws <see cref="ModuleException"/> when every attempt has failed at the transport or with a 5xx.</summary>
    public async Task<HttpResponseMessage> SendAsync(Func<HttpRequestMessage> request, CancellationToken stop, int attempts = int.MaxValue)
    {
        TimeSpan pause = FirstPause;
        for (int attempt = 1; ; attempt++)
        {
            (HttpResponseMessage? response, ModuleException? failure) = await TryAsync(request(), stop);
            if (response is not null && !IsWorthAnother(response.StatusCode)) { return response; }
            if (attempt >= Math.Min(attempts, _options.Attempts)) { return response ?? throw failure!; }
            response?.Dispose();
            await Task.Delay(pause, _time, stop);
            pause *= 2;
        }
    }

    /// <summary>The status of an answer for an error line, with what it means where that is not plain.</summary>
    public static string Answer(HttpResponseMessage response) => IsRedirect(response.StatusCode)
        ? $"{(int)response.StatusCode} (a redirect that cannot be followed: its Location is no http or https address, leads from https to http, or is the eleventh in a row)"
        : $"{(int)response.StatusCode}";

    /// <summary>Reads a small body whole: a manifest, a token. Throws <see cref="ModuleException"/> when it is larger than <paramref name="most"/> bytes or breaks off.</summary>
    public static async Task<byte[]> ReadAsync(HttpResponseMessage response, int most, string what, CancellationToken stop)
    {
        if (response.Content.Headers.ContentLength > most) { throw TooLarge(); }
        try
        {
            await using Stream body = await response.Content.ReadAsStreamAsync(stop);
            byte[] buffer = new byte[64 * 1024];
            using var bytes = new MemoryStream();
            int read;
            while ((read = await body.ReadAsync(buffer, stop)) > 0)
            {
                if (bytes.Length + read > most) { throw TooLarge(); }
                bytes.Write(buffer, 0, read);
            }
            return bytes.ToArray();
        }
        catch (Exception e) when (PeerFailure.Is(e))
        {
            throw new ModuleException(ModuleFailure.Manifest, $"{what} broke off: {e.Message}", e);
        }

        ModuleException TooLarge() => new(ModuleFailure.Manifest, $"{what} is larger than {most / (1024 * 1024)} MiB");
    }

    /// <summary>Reads a body into a file. Returns its SHA-256. Throws when it is larger than a module may be.</summary>
    public async Task<string> SaveAsync(HttpResponseMessage response, string file, CancellationToken stop)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        try
        {
            await using Stream body = await response.Content.ReadAsStreamAsync(stop);
            await using var output = new FileStream(file, FileMode.Create, FileAccess.Write, FileShare.None);
            byte[] buffer = new byte[64 * 1024];
            long total = 0;
            int read;
            while ((read = await body.ReadAsync(buffer, stop)) > 0)
            {
                total += read;
                if (total > _options.MaxBytes) { throw new ModuleException(ModuleFailure.Download, $"it is larger than {_options.MaxBytes} bytes (ISTIO_WASM_MAX_BINARY_SIZE_BYTES)"); }
                hash.AppendData(buffer, 0, read);
                await output.WriteAsync(buffer.AsMemory(0, read), stop);
            }
        }
        catch (Exception e) when (PeerFailure.Is(e))
        {
            throw new ModuleException(ModuleFailure.Download, $"the download broke off: {e.Message}", e);
        }
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    public void Dispose()
    {
        _strict.Dispose();
        _lax.Dispose();
    }

    private async Task<(HttpResponseMessage? Response, ModuleException? Failure)> TryAsync(HttpRequestMessage request, CancellationToken stop)
    {
        using HttpRequestMessage sent = request;
        using var limit = new CancellationTokenSource(_options.RequestTimeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, stop);
        try
        {
            return (await FollowAsync(sent, either.Token), null);
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return (null, new ModuleException(ModuleFailure.Download, $"{request.RequestUri!.Authority} does not answer within {_options.RequestTimeout.TotalSeconds:0.#} s"));
        }
        catch (HttpRequestException e) when (e.InnerException is ModuleException blocked)
        {
            throw blocked; // no attempt can help
        }
        catch (Exception e) when (PeerFailure.Is(e))
        {
            return (null, new ModuleException(ModuleFailure.Download, $"{request.RequestUri!.Authority}: {e.InnerException?.Message ?? e.Message}", e));
        }
    }

    private async Task<HttpResponseMessage> FollowAsync(HttpRequestMessage first, CancellationToken stop)
    {
        Uri address = first.RequestUri!;
        HttpResponseMessage response = await SendOnceAsync(first, stop);
        for (int hops = 0; hops < MaxRedirects && first.Method == HttpMethod.Get && Next(address, response) is { } next; hops++)
        {
            response.Dispose();
            using var request = new HttpRequestMessage(HttpMethod.Get, address = next); // without the credentials of the first
            foreach (MediaTypeWithQualityHeaderValue type in first.Headers.Accept) { request.Headers.Accept.Add(type); }
            response = await SendOnceAsync(request, stop);
        }
        return response;
    }

    private Task<HttpResponseMessage> SendOnceAsync(HttpRequestMessage request, CancellationToken stop)
    {
        _guard.Check(request.RequestUri!); // an address written out is looked at even where a proxy would do the connecting
        return (IsInsecure(request.RequestUri!) ? _lax : _strict).SendAsync(request, stop);
    }

    /// <summary>Where a redirect leads; null: nowhere, or to what is not followed (RFC 9110 section 15.4). Pure.</summary>
    internal static Uri? Next(Uri from, HttpResponseMessage response) =>
        IsRedirect(response.StatusCode) && response.Headers.Location is { OriginalString.Length: > 0 } location && Uri.TryCreate(from, location, out Uri? to)
        && (to.Scheme == Uri.UriSchemeHttps || (to.Scheme == Uri.UriSchemeHttp && from.Scheme == Uri.UriSchemeHttp)) ? to : null;

    private static bool IsRedirect(HttpStatusCode status) => (int)status is 300 or 301 or 302 or 303 or 307 or 308;

    private static bool IsWorthAnother(HttpStatusCode status) => (int)status >= 500 && (int)status is not (501 or 505 or 511);

    [SuppressMessage("Security", "CA5359", Justification = "only for hosts the operator lists as insecure; the module's checksum still counts")]
    private static SocketsHttpHandler Handler(AddressGuard guard, bool check) => new()
    {
        ConnectCallback = guard.ConnectAsync,
        UseCookies = false,
        AllowAutoRedirect = false, // followed here, under the same guard
        PooledConnectionIdleTimeout = TimeSpan.FromSeconds(10), // a fetch is rare
        SslOptions = check ? new SslClientAuthenticationOptions() : new SslClientAuthenticationOptions { RemoteCertificateValidationCallback = (_, _, _, _) => true },
    };
}
