using System.Net;
using System.Text;

using VmSidecar.Linux.Sockets;

namespace VmSidecar.Identity;

/// <summary>
/// CREDENTIAL_FETCHER_TYPE=GoogleComputeEngine: the identity document of this machine from the cloud's metadata server
/// (<c>instance/service-accounts/default/identity</c>), for the mesh's trust domain as audience. Plain HTTP to a link-local address, as the cloud has it.
/// </summary>
internal sealed class MetadataToken(string host, string trustDomain) : ITokenSource
{
    private const int LongestAnswer = 64 * 1024; // a token is about 1 KB
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    public string Name => $"the metadata server {host}";

    public async Task<(string? Token, string Problem)> FetchAsync(CancellationToken stop)
    {
        using var handler = new SocketsHttpHandler { UseProxy = false, AllowAutoRedirect = false, UseCookies = false };
        using var http = new HttpClient(handler) { Timeout = Limit, MaxResponseContentBufferSize = LongestAnswer };
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, $"http://{host}/computeMetadata/v1/instance/service-accounts/default/identity?audience={Uri.EscapeDataString(trustDomain)}&format=full");
            request.Headers.Add("Metadata-Flavor", "Google");
            using HttpResponseMessage answer = await http.SendAsync(request, stop);
            if (answer.StatusCode != HttpStatusCode.OK) { return (null, $"it answers {(int)answer.StatusCode}"); }
            string token = Encoding.UTF8.GetString(await answer.Content.ReadAsByteArrayAsync(stop)).Trim(); // whatever charset it claims: a token is ASCII
            return TokenClaims.TryParse(token, out _) ? (token, "") : (null, "its answer is no JWT");
        }
        catch (TaskCanceledException) when (!stop.IsCancellationRequested) { return (null, $"no answer within {Limit.TotalSeconds:0} s"); }
        catch (Exception e) when (PeerFailure.Is(e) || e is UriFormatException) { return (null, e.Message); }
    }
}
