using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Core;
using VmSidecar.Grpc;
using VmSidecar.Proto.Ca;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Pki;

namespace VmSidecar.TestKit.Istiod.Peers;

/// <summary>A hand-driven client of a FakeIstiod: verifies its certificate by the mesh roots and shows a token, a certificate or both.</summary>
internal sealed class IstiodPeer(FakeIstiod istiod) : IAsyncDisposable
{
    private readonly List<GrpcChannel> _channels = [];

    /// <summary>Sent as <c>authorization: Bearer ...</c>; null: no header.</summary>
    public string? Token { get; set; }

    /// <summary>Sent as it is instead of a bearer token.</summary>
    public string? Authorization { get; set; }

    public string ClusterId { get; set; } = "Kubernetes";

    /// <summary>Client certificate; null: none.</summary>
    public Issued? Certificate { get; set; }

    /// <summary>A peer with a good token.</summary>
    public static IstiodPeer WithToken(FakeIstiod istiod, string ns = "vm-ns", string account = "vm-sa") => new(istiod) { Token = istiod.Tokens.Make(ns, account) };

    /// <summary>The node of a VM as an agent makes it.</summary>
    public static Node Node(string ns = "vm-ns", string account = "vm-sa", string ip = "10.99.0.2", string group = "", bool probe = false, Action<Struct>? more = null)
    {
        var metadata = new Struct
        {
            Fields =
            {
                ["NAMESPACE"] = Value.ForString(ns), ["SERVICE_ACCOUNT"] = Value.ForString(account), ["INSTANCE_IPS"] = Value.ForString(ip),
                ["CLUSTER_ID"] = Value.ForString("Kubernetes"), ["DNS_CAPTURE"] = Value.ForString("true"), ["DNS_AUTO_ALLOCATE"] = Value.ForString("true"),
            },
        };
        if (group.Length > 0) { metadata.Fields["AUTO_REGISTER_GROUP"] = Value.ForString(group); }
        if (probe)
        {
            var config = new Struct { Fields = { ["readinessProbe"] = Value.ForStruct(new Struct()) } };
            metadata.Fields["PROXY_CONFIG"] = Value.ForStruct(config);
        }
        more?.Invoke(metadata);
        return new Node { Id = $"sidecar~{ip}~vm1.{ns}~{ns}.svc.cluster.local", Cluster = "vm1", Metadata = metadata };
    }

    /// <summary>Opens an ADS stream on a connection of its own.</summary>
    public async Task<AdsPeer> AdsAsync(bool delta = false) =>
        new(await Channel().OpenAsync(delta ? AdsService.Delta : AdsService.Sotw, Metadata(), CancellationToken.None), delta);

    /// <summary>One CreateCertificate call on a connection of its own.</summary>
    public async Task<IReadOnlyList<string>> SignAsync(string csr, long validity = 86400)
    {
        using GrpcMessage answer = await Channel().UnaryAsync(
            Authentication.CertificateService.Method, new IstioCertificateRequest { Csr = csr, ValidityDuration = validity }.ToByteArray(), Metadata(), Test.Deadline, CancellationToken.None);
        return [.. IstioCertificateResponse.Parser.ParseFrom(answer.Body.Span).CertChain];
    }

    public async ValueTask DisposeAsync()
    {
        foreach (GrpcChannel channel in _channels) { await channel.DisposeAsync(); }
    }

    private GrpcChannel Channel()
    {
        var channel = new GrpcChannel(GrpcChannelOptions.For(istiod.Target, Tls, "istiod.istio-system.svc"));
        _channels.Add(channel);
        return channel;
    }

    private SslClientAuthenticationOptions Tls()
    {
        var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
        policy.CustomTrustStore.AddRange(istiod.CertificateAuthority.Roots);
        return new SslClientAuthenticationOptions
        {
            TargetHost = "istiod.istio-system.svc",
            CertificateChainPolicy = policy,
            ClientCertificateContext = Certificate?.TlsContext(),
        };
    }

    private List<KeyValuePair<string, string>> Metadata()
    {
        List<KeyValuePair<string, string>> metadata = [new("clusterid", ClusterId)];
        string? value = Authorization ?? (Token is null ? null : "Bearer " + Token);
        if (value is not null) { metadata.Add(new("authorization", value)); }
        return metadata;
    }
}
