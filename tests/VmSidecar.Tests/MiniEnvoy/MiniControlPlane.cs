using System.Collections.Concurrent;

using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

using Microsoft.Extensions.Logging.Abstractions;

using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.EnvoyApi.Tls;
using VmSidecar.Grpc;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Istiod.Registration;
using VmSidecar.TestKit.Pki;

namespace VmSidecar.Tests.MiniEnvoy;

/// <summary>ADS and SDS on the two sockets of a bootstrap, with FakeIstiod's resources and FakeCa's certificates, in the place of agent and istiod. Notes every request.</summary>
internal sealed class MiniControlPlane : IAsyncDisposable
{
    private const string Identity = "spiffe://cluster.local/ns/istio-demo/sa/vm";

    private readonly IstiodOptions _options;
    private readonly WorkloadRegistry _registry;
    private readonly FakeCa _ca = new(TimeProvider.System);
    private readonly Issued _own;
    private readonly List<GrpcServer> _servers = [];
    private readonly ConcurrentDictionary<int, Func<string, Task>> _pushes = new();
    private CancellationTokenSource _cut = new();
    private int _nonce;

    public MiniControlPlane(string folder, MeshModel mesh, IstiodVersion version)
    {
        _options = new IstiodOptions { Version = version };
        _registry = new WorkloadRegistry(_options, () => { });
        Mesh = new MeshSource(_options, _registry, () => _ca.RootsPem) { Model = mesh };
        _own = _ca.Issue(Identity, TimeSpan.FromHours(1));
        _servers.Add(new GrpcServer(
            GrpcServerOptions.OnSocket("xds", Path.Combine(folder, "XDS")),
            new Dictionary<string, GrpcHandler> { [AdsService.Sotw] = SotwAsync, [AdsService.Delta] = DeltaAsync },
            NullLogger.Instance));
        _servers.Add(new GrpcServer(
            GrpcServerOptions.OnSocket("sds", Path.Combine(folder, "SDS")),
            new Dictionary<string, GrpcHandler> { ["/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"] = SecretsAsync },
            NullLogger.Instance));
    }

    public MeshSource Mesh { get; }

    /// <summary>One line per ADS request: type, names, <c>node</c>, ACK or NACK and why.</summary>
    public ConcurrentQueue<string> Requests { get; } = [];

    public async Task StartAsync()
    {
        foreach (GrpcServer server in _servers) { await server.StartAsync(default); }
    }

    /// <summary>Pushes one type, by short name, to every stream.</summary>
    public Task PushAsync(string type) => Task.WhenAll(_pushes.Values.Select(p => p(XdsTypes.Long(type))));

    /// <summary>Ends every ADS stream with UNAVAILABLE, as a restarting istiod does.</summary>
    public Task CutAsync() => Interlocked.Exchange(ref _cut, new CancellationTokenSource()).CancelAsync();

    public async ValueTask DisposeAsync()
    {
        _cut.Dispose();
        foreach (GrpcServer server in _servers)
        {
            using var now = new CancellationTokenSource(TimeSpan.FromSeconds(5));
            await server.StopAsync(now.Token);
            server.Dispose();
        }
        _registry.Dispose();
    }

    private async Task<GrpcStatus> SotwAsync(IGrpcServerCall call, CancellationToken gone)
    {
        CancellationToken cut = _cut.Token;
        using var both = CancellationTokenSource.CreateLinkedTokenSource(gone, cut);
        try { return await SotwUntilAsync(call, both.Token); }
        catch (OperationCanceledException) when (cut.IsCancellationRequested) { return new GrpcStatus(GrpcStatusCode.Unavailable, "server is shutting down"); }
    }

    private async Task<GrpcStatus> SotwUntilAsync(IGrpcServerCall call, CancellationToken aborted)
    {
        ProxyNode? node = null;
        var names = new ConcurrentDictionary<string, string[]>();
        using var turn = new SemaphoreSlim(1);
        int id = Interlocked.Increment(ref _nonce);
        _pushes[id] = type => SendAsync(type);
        try
        {
            while (await call.ReadAsync(aborted) is { } message)
            {
                DiscoveryRequest request;
                using (message) { request = DiscoveryRequest.Parser.ParseFrom(message.Body.Span); }
                Note(request.TypeUrl, request.ResourceNames, request.Node, request.ResponseNonce, request.ErrorDetail?.Message);
                node ??= ProxyNode.Read(request.Node, out _);
                bool news = !names.TryGetValue(request.TypeUrl, out string[]? known) || !known.ToHashSet().SetEquals(request.ResourceNames);
                names[request.TypeUrl] = [.. request.ResourceNames];
                if (news && request.ErrorDetail is null && (XdsTypes.IsWildcard(request.TypeUrl) || request.ResourceNames.Count > 0)) { await SendAsync(request.TypeUrl); }
            }
        }
        finally { _pushes.TryRemove(id, out _); }
        return GrpcStatus.Ok;

        async Task SendAsync(string type)
        {
            var response = new DiscoveryResponse { TypeUrl = type, VersionInfo = "v1", Nonce = $"n{Interlocked.Increment(ref _nonce)}" };
            response.Resources.AddRange(Mesh.Generate(node!, type, XdsTypes.IsWildcard(type) ? null : names[type])!.Select(r => r.Resource));
            await turn.WaitAsync(aborted);
            try { await call.SendAsync(response.ToByteArray(), aborted); }
            finally { turn.Release(); }
        }
    }

    private async Task<GrpcStatus> DeltaAsync(IGrpcServerCall call, CancellationToken aborted)
    {
        ProxyNode? node = null;
        while (await call.ReadAsync(aborted) is { } message)
        {
            DeltaDiscoveryRequest request;
            using (message) { request = DeltaDiscoveryRequest.Parser.ParseFrom(message.Body.Span); }
            Note(request.TypeUrl, request.ResourceNamesSubscribe, request.Node, request.ResponseNonce, request.ErrorDetail?.Message);
            node ??= ProxyNode.Read(request.Node, out _);
            if (request.ResponseNonce.Length > 0) { continue; }
            var response = new DeltaDiscoveryResponse { TypeUrl = request.TypeUrl, Nonce = $"n{Interlocked.Increment(ref _nonce)}" };
            response.Resources.AddRange(Mesh.Generate(node!, request.TypeUrl, XdsTypes.IsWildcard(request.TypeUrl) ? null : [.. request.ResourceNamesSubscribe])!
                .Select(r => new Resource { Name = r.Name, Resource_ = r.Resource }));
            await call.SendAsync(response.ToByteArray(), aborted);
        }
        return GrpcStatus.Ok;
    }

    private async Task<GrpcStatus> SecretsAsync(IGrpcServerCall call, CancellationToken aborted)
    {
        bool sent = false;
        while (await call.ReadAsync(aborted) is { } message)
        {
            DiscoveryRequest request;
            using (message) { request = DiscoveryRequest.Parser.ParseFrom(message.Body.Span); }
            if (sent) { continue; }
            sent = true;
            string name = OnlyName(request);
            var secret = new Secret { Name = name };
            if (name == "ROOTCA") { secret.ValidationContext = new CertificateValidationContext { TrustedCa = Bytes(_ca.RootsPem) }; }
            else { secret.TlsCertificate = new TlsCertificate { CertificateChain = Bytes(_own.ChainPem), PrivateKey = Bytes(_own.KeyPem) }; }
            await call.SendAsync(new DiscoveryResponse { TypeUrl = XdsTypes.Secret, VersionInfo = "1", Nonce = "s", Resources = { Any.Pack(secret) } }.ToByteArray(), aborted);
        }
        return GrpcStatus.Ok;

        static DataSource Bytes(string pem) => new() { InlineBytes = ByteString.CopyFromUtf8(pem) };
        static string OnlyName(DiscoveryRequest request) => request.ResourceNames.Count == 1 && request.Node is not null ? request.ResourceNames[0] : throw new GrpcException(new GrpcStatus(GrpcStatusCode.InvalidArgument, "one name and the node"));
    }

    private void Note(string type, IEnumerable<string> names, Node? node, string nonce, string? error) =>
        Requests.Enqueue($"{XdsTypes.Short(type)} [{string.Join(' ', names)}]{(node is null ? "" : " node")}{(error is not null ? " NACK " + error : nonce.Length > 0 ? " ACK" : "")}");
}
