namespace VmSidecar.MiniEnvoy.Xds;

/// <summary>One resource type of ADS.</summary>
internal sealed record XdsType(string Name, string Url)
{
    public static readonly XdsType Cluster = new("CDS", "type.googleapis.com/envoy.config.cluster.v3.Cluster");
    public static readonly XdsType Endpoint = new("EDS", "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment");
    public static readonly XdsType Listener = new("LDS", "type.googleapis.com/envoy.config.listener.v3.Listener");
    public static readonly XdsType Route = new("RDS", "type.googleapis.com/envoy.config.route.v3.RouteConfiguration");
    public const string SecretUrl = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

    /// <summary>True for CDS and LDS: no names are sent, everything is wanted.</summary>
    public bool IsWildcard => this == Cluster || this == Listener;
}
