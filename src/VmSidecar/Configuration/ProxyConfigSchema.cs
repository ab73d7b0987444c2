using System.Collections.Immutable;

namespace VmSidecar.Configuration;

/// <summary>
/// The fields of <c>istio.mesh.v1alpha1.ProxyConfig</c>, 1.10 to current, and the top-level names of MeshConfig. Decides what
/// <see cref="ProxyConfigDocument"/> takes for known.
/// </summary>
internal static class ProxyConfigSchema
{
    private static readonly ImmutableArray<ProxyField> s_tls =
    [
        Choice("mode", "DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"), Text("clientCertificate"), Text("privateKey"), Text("caCertificates"),
        Text("credentialName"), List("subjectAltNames"), Text("sni"), Wrapped("insecureSkipVerify", FieldKind.Boolean), Text("caCrl"),
    ];

    private static readonly ImmutableArray<ProxyField> s_remoteService =
    [
        Text("address"), Message("tlsSettings", s_tls),
        Message("tcpKeepalive", [Integer("probes"), Of("time", FieldKind.Duration), Of("interval", FieldKind.Duration)]),
    ];

    private static readonly ImmutableArray<ProxyField> s_tracing =
    [
        Message("zipkin", [Text("address")]), Message("lightstep", [Text("address"), Text("accessToken")]), Message("datadog", [Text("address")]),
        Of("stackdriver", FieldKind.Any), Of("openCensusAgent", FieldKind.Any), Of("customTags", FieldKind.Any), Integer("maxPathTagLength"),
        Of("sampling", FieldKind.Real), Message("tlsSettings", s_tls), Wrapped("enableIstioTags", FieldKind.Boolean),
    ];

    private static readonly ImmutableArray<ProxyField> s_readinessProbe =
    [
        Integer("initialDelaySeconds"), Integer("timeoutSeconds"), Integer("periodSeconds"), Integer("successThreshold"), Integer("failureThreshold"),
        Message("httpGet", [Text("path"), Integer("port"), Text("host"), Text("scheme"),
            new("httpHeaders", FieldKind.MessageList) { Members = [Text("name"), Text("value")] }]),
        Message("tcpSocket", [Text("host"), Integer("port")]), Message("exec", [List("command")]), Message("grpc", [Integer("port"), Text("service")]),
    ];

    /// <summary>Fields of ProxyConfig.</summary>
    public static ImmutableArray<ProxyField> ProxyConfig { get; } =
    [
        Text("configPath"), Text("binaryPath"), Text("serviceCluster"),
        Choice("tracingServiceName", "APP_LABEL_AND_NAMESPACE", "CANONICAL_NAME_ONLY", "CANONICAL_NAME_AND_NAMESPACE"),
        Of("drainDuration", FieldKind.Duration), Of("parentShutdownDuration", FieldKind.Duration), Text("discoveryAddress"),
        Of("discoveryRefreshDelay", FieldKind.Duration), Text("zipkinAddress"), Text("statsdUdpAddress"), Integer("proxyAdminPort"), Text("availabilityZone"),
        Choice("controlPlaneAuthPolicy", "NONE", "MUTUAL_TLS"), Text("customConfigFile"), Integer("statNameLength"),
        Wrapped("concurrency", FieldKind.Integer), Text("proxyBootstrapTemplatePath"), Choice("interceptionMode", "REDIRECT", "TPROXY", "NONE"),
        Message("tracing", s_tracing), Text("envoyMetricsServiceAddress"), Of("sds", FieldKind.Any),
        Message("envoyAccessLogService", s_remoteService), Message("envoyMetricsService", s_remoteService),
        Of("proxyMetadata", FieldKind.TextMap), Of("runtimeValues", FieldKind.TextMap), Integer("statusPort"), List("extraStatTags"),
        Of("gatewayTopology", FieldKind.Any), Of("terminationDrainDuration", FieldKind.Duration), Text("meshId"), Message("readinessProbe", s_readinessProbe),
        Message("proxyStatsMatcher", [List("inclusionPrefixes"), List("inclusionSuffixes"), List("inclusionRegexps")]),
        Wrapped("holdApplicationUntilProxyStarts", FieldKind.Boolean), List("caCertificatesPem"), Of("image", FieldKind.Any),
        Of("privateKeyProvider", FieldKind.Any), Of("proxyHeaders", FieldKind.Any), Of("fileFlushInterval", FieldKind.Duration),
        Wrapped("fileFlushMinSizeKb", FieldKind.Integer), Wrapped("statsCompression", FieldKind.Boolean), Of("connectionSettings", FieldKind.Any),
    ];

    /// <summary>Top-level names of MeshConfig. Nothing but <c>defaultConfig</c> is read on a VM; other names draw a warning as misspelled.</summary>
    public static ImmutableHashSet<string> MeshConfig { get; } =
    [
        "defaultConfig", "proxyListenPort", "proxyInboundListenPort", "proxyHttpPort", "connectTimeout", "tcpKeepalive", "ingressClass", "ingressService",
        "ingressControllerMode", "ingressSelector", "enableTracing", "accessLogFile", "accessLogFormat", "accessLogEncoding",
        "enableEnvoyAccessLogService", "disableEnvoyListenerLog", "trustDomain", "trustDomainAliases", "caCertificates",
        "defaultServiceExportTo", "defaultVirtualServiceExportTo", "defaultDestinationRuleExportTo", "rootNamespace", "localityLbSetting",
        "dnsRefreshRate", "h2UpgradePolicy", "inboundClusterStatName", "outboundClusterStatName", "certificates", "enablePrometheusMerge",
        "extensionProviders", "defaultProviders", "discoverySelectors", "pathNormalization", "defaultHttpRetryPolicy", "meshMTLS", "tlsDefaults",
        "outboundTrafficPolicy", "inboundTrafficPolicy", "configSources", "enableAutoMtls", "verifyCertificateAtClient", "ca", "thriftConfig",
        "serviceSettings", "serviceScopeConfigs", "protocolDetectionTimeout", "disableMixerHttpReports", "enableMtls", "mixerCheckServer",
        "mixerReportServer", "policyCheckFailOpen", "disablePolicyChecks", "reportBatchMaxEntries", "reportBatchMaxTime", "sdsUdsPath", "hboneIdleTimeout",
    ];

    private static ProxyField Of(string name, FieldKind kind) => new(name, kind);

    private static ProxyField Text(string name) => new(name, FieldKind.Text);

    private static ProxyField Integer(string name) => new(name, FieldKind.Integer);

    private static ProxyField List(string name) => new(name, FieldKind.TextList);

    private static ProxyField Wrapped(string name, FieldKind kind) => new(name, kind) { IsWrapper = true };

    private static ProxyField Choice(string name, params ImmutableArray<string> choices) => new(name, FieldKind.Choice) { Choices = choices };

    private static ProxyField Message(string name, ImmutableArray<ProxyField> members) => new(name, FieldKind.Message) { Members = members };
}
