using System.Net.Sockets;
using System.Text.Json.Nodes;

namespace VmSidecar.TestKit.Istiod.Control;

/// <summary>The other end of <see cref="IstiodControl"/>, for a process in another namespace: unix sockets reach across.</summary>
internal sealed class IstiodControlClient(string socket) : IDisposable
{
    private readonly HttpClient _http = new(new SocketsHttpHandler
    {
        ConnectCallback = async (_, stop) =>
        {
            var unix = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await unix.ConnectAsync(new UnixDomainSocketEndPoint(socket), stop);
            return new NetworkStream(unix, ownsSocket: true);
        },
    })
    { BaseAddress = new Uri("http://istiod"), Timeout = TimeSpan.FromSeconds(30) };

    /// <summary>WorkloadEntries: namespace, name, address, group, serviceAccount, labels, annotations, healthy, connected, offered.</summary>
    public Task<JsonArray> EntriesAsync(CancellationToken stop) => GetAsync("/entries", stop);

    /// <summary>Open streams: id, node, group, delta, identity, types with their sync state.</summary>
    public Task<JsonArray> StreamsAsync(CancellationToken stop) => GetAsync("/streams", stop);

    public Task<JsonArray> ViolationsAsync(CancellationToken stop) => GetAsync("/violations", stop);

    public Task<JsonArray> CallsAsync(CancellationToken stop) => GetAsync("/calls", stop);

    /// <summary>100 % to subset <c>vm</c> or <c>docker</c>, or <c>both</c> alike.</summary>
    public Task RouteAsync(string subset, CancellationToken stop) => PostAsync("/route?subset=" + subset, stop);

    /// <summary>Any other action, e.g. <c>/kill</c>, <c>/start</c>, <c>/rotate-root?keep=true</c>.</summary>
    public async Task<JsonNode> PostAsync(string what, CancellationToken stop)
    {
        using HttpResponseMessage answer = await _http.PostAsync(new Uri(what, UriKind.Relative), null, stop);
        string text = await answer.Content.ReadAsStringAsync(stop);
        return answer.IsSuccessStatusCode ? JsonNode.Parse(text)! : throw new InvalidOperationException($"{what}: {(int)answer.StatusCode} {text}");
    }

    public void Dispose() => _http.Dispose();

    private async Task<JsonArray> GetAsync(string what, CancellationToken stop) =>
        JsonNode.Parse(await _http.GetStringAsync(new Uri(what, UriKind.Relative), stop))!.AsArray();
}
