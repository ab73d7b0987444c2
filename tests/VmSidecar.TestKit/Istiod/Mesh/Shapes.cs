using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.AccessLogs;
using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Matching;
using VmSidecar.EnvoyApi.Tls;

namespace VmSidecar.TestKit.Istiod.Mesh;

/// <summary>The pieces every built resource is made of, as the recorded ones have them. Pure.</summary>
internal static class Shapes
{
    public static readonly Duration Zero = new();

    private static readonly string[] Ciphers =
    [
        "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-GCM-SHA256",
    ];

    public static Address At(string address, int port) => new() { SocketAddress = new SocketAddress { Address = address, PortValue = (uint)port } };

    public static ConfigSource OverAds() => new() { Ads = new(), InitialFetchTimeout = Zero, ResourceApiVersion = ApiVersion.V3 };

    /// <summary>A secret from the agent's socket: the resource stays warming until the agent answers.</summary>
    public static SdsSecretConfig Secret(string name) => new()
    {
        Name = name,
        SdsConfig = new ConfigSource
        {
            InitialFetchTimeout = Zero,
            ResourceApiVersion = ApiVersion.V3,
            ApiConfigSource = new ApiConfigSource
            {
                ApiType = ApiConfigSource.Types.ApiType.Grpc,
                TransportApiVersion = ApiVersion.V3,
                SetNodeOnFirstMessageOnly = true,
                GrpcServices = { new GrpcService { EnvoyGrpc = new GrpcService.Types.EnvoyGrpc { ClusterName = "sds-grpc" } } },
            },
        },
    };

    /// <summary>mTLS towards a peer that must be one of <paramref name="identities"/>.</summary>
    public static TransportSocket ClientTls(string sni, IEnumerable<string> identities, bool old) => Tls(new UpstreamTlsContext
    {
        Sni = sni,
        CommonTlsContext = Context(["istio-peer-exchange", "istio"], identities.Select(i => new StringMatcher { Exact = i }), old ? null : Parameters(old)),
    });

    /// <summary>mTLS from a peer of the trust domain; a client without a certificate is refused.</summary>
    public static TransportSocket ServerTls(string trustDomain, bool http, bool old)
    {
        TlsParameters parameters = Parameters(old);
        parameters.CipherSuites.AddRange(Ciphers);
        return Tls(new DownstreamTlsContext
        {
            RequireClientCertificate = true,
            CommonTlsContext = Context(
                http ? ["h2", "http/1.1"] : ["istio-peer-exchange", "h2", "http/1.1"], [new StringMatcher { Prefix = $"spiffe://{trustDomain}/" }], parameters),
        });
    }

    /// <summary>No TLS. 1.10 names it without a configuration, which today's Envoy refuses.</summary>
    public static TransportSocket Plain(bool bare) => new()
    {
        Name = "envoy.transport_sockets.raw_buffer",
        TypedConfig = bare ? null : Any.Pack(new EnvoyApi.Plain.RawBuffer()),
    };

    public static IEnumerable<AccessLog> AccessLogs(MeshModel model) => !model.AccessLog ? [] :
        [new AccessLog { Name = "envoy.access_loggers.file", TypedConfig = Any.Pack(new FileAccessLog { Path = "/dev/stdout" }) }];

    /// <summary>filter_metadata of one key.</summary>
    public static Metadata Metadata(string key, params (string Name, Value Value)[] fields) =>
        new() { FilterMetadata = { [key] = Fields(fields) } };

    public static Struct Fields(params (string Name, Value Value)[] fields)
    {
        var all = new Struct();
        foreach ((string name, Value value) in fields) { all.Fields[name] = value; }
        return all;
    }

    /// <summary>The resource as an answer carries it.</summary>
    public static Ads.NamedResource Named(string name, IMessage message) => new(name, Any.Pack(message));

    private static TransportSocket Tls(IMessage context) => new() { Name = "envoy.transport_sockets.tls", TypedConfig = Any.Pack(context) };

    private static TlsParameters Parameters(bool old) => new()
    {
        TlsMinimumProtocolVersion = TlsParameters.Types.TlsProtocol.Tlsv12,
        TlsMaximumProtocolVersion = old ? TlsParameters.Types.TlsProtocol.TlsAuto : TlsParameters.Types.TlsProtocol.Tlsv13,
    };

    private static CommonTlsContext Context(IEnumerable<string> alpn, IEnumerable<StringMatcher> peers, TlsParameters? parameters) => new()
    {
        TlsParams = parameters,
        AlpnProtocols = { alpn },
        TlsCertificateSdsSecretConfigs = { Secret("default") },
        CombinedValidationContext = new CommonTlsContext.Types.CombinedCertificateValidationContext
        {
            DefaultValidationContext = new CertificateValidationContext { MatchSubjectAltNames = { peers } },
            ValidationContextSdsSecretConfig = Secret("ROOTCA"),
        },
    };
}
