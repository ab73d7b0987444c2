namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>The type URLs istiod serves, their short names, which are wildcard, and the order of a push.</summary>
internal static class XdsTypes
{
    private const string Prefix = "type.googleapis.com/";

    public const string Cluster = Prefix + "envoy.config.cluster.v3.Cluster";
    public const string Endpoint = Prefix + "envoy.config.endpoint.v3.ClusterLoadAssignment";
    public const string Listener = Prefix + "envoy.config.listener.v3.Listener";
    public const string Route = Prefix + "envoy.config.route.v3.RouteConfiguration";
    public const string Secret = Prefix + "envoy.extensions.transport_sockets.tls.v3.Secret";
    public const string Extension = Prefix + "envoy.config.core.v3.TypedExtensionConfig";
    public const string NameTable = Prefix + "istio.networking.nds.v1.NameTable";
    public const string ProxyConfig = Prefix + "istio.mesh.v1alpha1.ProxyConfig";
    public const string Health = Prefix + "istio.v1.HealthInformation";

    private static readonly string[] Ordered = [Cluster, Endpoint, Listener, Route, Secret];

    /// <summary>Empty names mean everything; for the others they mean nothing.</summary>
    public static bool IsWildcard(string type) => type is not (Endpoint or Route or Secret or Extension);

    /// <summary>CDS, EDS, LDS, RDS, SDS, then the rest.</summary>
    public static int PushOrder(string type) => Array.IndexOf(Ordered, type) is >= 0 and int index ? index : Ordered.Length;

    public static string Short(string type) => type switch
    {
        Cluster => "CDS",
        Endpoint => "EDS",
        Listener => "LDS",
        Route => "RDS",
        Secret => "SDS",
        Extension => "ECDS",
        NameTable => "NDS",
        ProxyConfig => "PCDS",
        _ => type,
    };

    /// <summary>The URL of a short name; other text unchanged.</summary>
    public static string Long(string name) =>
        new[] { Cluster, Endpoint, Listener, Route, Secret, Extension, NameTable, ProxyConfig }.FirstOrDefault(t => Short(t) == name) ?? name;
}
