using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

using Google.Protobuf;

using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.EnvoyApi.Tls;
using VmSidecar.Grpc;
using VmSidecar.MiniEnvoy.Observed;
using VmSidecar.MiniEnvoy.Startup;
using VmSidecar.MiniEnvoy.Xds;

namespace VmSidecar.MiniEnvoy.Resources;

/// <summary>Secrets over SDS, one stream per name for the life of the process, opened when something first names it. Owned by MiniEnvoyApp.</summary>
internal sealed class SecretStore(Bootstrap bootstrap, EnvoyLog log, CancellationToken stop) : IAsyncDisposable
{
    private const string Method = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";

    private readonly ConcurrentDictionary<string, (SecretEntry Entry, Task Stream)> _secrets = new();
    private volatile Action? _changed;

    /// <summary>Called after each secret that arrived.</summary>
    public Action? Changed { set => _changed = value; }

    public IEnumerable<X509Certificate2> Roots => _secrets.Values.SelectMany(s => s.Entry.Roots ?? []);

    public IEnumerable<X509Certificate2> Leaves => _secrets.Values.Select(s => s.Entry.Certificate?.TargetCertificate).OfType<X509Certificate2>();

    /// <summary>The entry of a name; it may still be empty. Called by the one loop that owns the resource sets.</summary>
    public SecretEntry Get(SdsSecretConfig config)
    {
        string cluster = config.SdsConfig?.ApiConfigSource?.GrpcServices.FirstOrDefault()?.EnvoyGrpc?.ClusterName ?? "";
        if (bootstrap.Clusters.All(c => c.Name != cluster)) { throw new RejectedException($"Unknown gRPC client cluster '{cluster}'"); }
        if (_secrets.TryGetValue(config.Name, out (SecretEntry Entry, Task Stream) known)) { return known.Entry; }
        var entry = new SecretEntry(config.Name);
        _secrets[config.Name] = (entry, KeepAsync(entry, cluster));
        return entry;
    }

    public async ValueTask DisposeAsync() => await Task.WhenAll(_secrets.Values.Select(s => s.Stream));

    private async Task KeepAsync(SecretEntry entry, string cluster)
    {
        int failures = 0;
        try
        {
            while (true) // ends by cancellation only
            {
                bool heard = await StreamAsync(entry, cluster);
                failures = heard ? 0 : failures + 1;
                await Task.Delay(ControlPlane.Delay(failures), TimeProvider.System, stop);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { }
    }

    private async Task<bool> StreamAsync(SecretEntry entry, string cluster)
    {
        bool heard = false;
        GrpcStatus status;
        await using GrpcChannel channel = ControlPlane.Connect(bootstrap, cluster);
        try
        {
            await using IGrpcClientCall call = await channel.OpenAsync(Method, [], stop);
            var request = new DiscoveryRequest { Node = ControlPlane.NodeOf(bootstrap), TypeUrl = XdsType.SecretUrl, ResourceNames = { entry.Name } };
            await call.SendAsync(request.ToByteArray(), stop);
            request.Node = null;
            while (await call.ReadAsync(stop) is { } message)
            {
                using (message) { Take(entry, DiscoveryResponse.Parser.ParseFrom(message.Body.Span), request); }
                heard = true;
                await call.SendAsync(request.ToByteArray(), stop);
            }
            status = call.Status;
        }
        catch (GrpcException e) { status = e.Status; }
        log.Write("warning", "config", $"StreamSecrets gRPC config stream to {cluster} closed: {(int)status.Code}, {status.Message}");
        return heard;
    }

    /// <summary>Puts the secret in use and makes <paramref name="request"/> its ACK, or its NACK.</summary>
    private void Take(SecretEntry entry, DiscoveryResponse response, DiscoveryRequest request)
    {
        request.ResponseNonce = response.Nonce;
        try
        {
            if (response.TypeUrl != XdsType.SecretUrl || response.Resources.Count != 1) { throw new RejectedException($"Unexpected SDS secrets length: {response.Resources.Count}"); }
            Secret secret = Secret.Parser.ParseFrom(response.Resources[0].Value);
            if (secret.Name != entry.Name) { throw new RejectedException($"Unexpected SDS secret (expecting {entry.Name}): {secret.Name}"); }
            Use(entry, secret);
            request.VersionInfo = response.VersionInfo;
            request.ErrorDetail = null;
            _changed?.Invoke();
        }
        catch (Exception e) when (e is RejectedException or CryptographicException or InvalidProtocolBufferException)
        {
            log.Write("warning", "config", $"gRPC config for {XdsType.SecretUrl} rejected: {e.Message}");
            request.ErrorDetail = new EnvoyApi.Rpc.Status { Code = 13, Message = e.Message };
        }
    }

    private static void Use(SecretEntry entry, Secret secret)
    {
        if (secret.TypeCase == Secret.TypeOneofCase.ValidationContext)
        {
            var roots = new X509Certificate2Collection();
            roots.ImportFromPem(secret.ValidationContext.TrustedCa.InlineBytes.ToStringUtf8());
            entry.Roots = roots.Count > 0 ? roots : throw new RejectedException("Failed to load trusted CA certificates from <inline>");
            return;
        }
        if (secret.TypeCase != Secret.TypeOneofCase.TlsCertificate) { throw new RejectedException("an SDS secret of a type that is not known"); }
        string chain = secret.TlsCertificate.CertificateChain.InlineBytes.ToStringUtf8();
        var all = new X509Certificate2Collection();
        all.ImportFromPem(chain);
        if (all.Count == 0) { throw new RejectedException("Failed to load certificate chain from <inline>"); }
        X509Certificate2 leaf = X509Certificate2.CreateFromPem(chain, secret.TlsCertificate.PrivateKey.InlineBytes.ToStringUtf8()); // throws when they do not belong together
        entry.Certificate = System.Net.Security.SslStreamCertificateContext.Create(leaf, [.. all.Skip(1)], offline: true);
    }
}
