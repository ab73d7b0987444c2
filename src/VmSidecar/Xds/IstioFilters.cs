namespace VmSidecar.Xds;

/// <summary>
/// The closed list of filters that only Istio's build of Envoy has and that traffic can do without: observability and
/// negotiation. Nothing else is ever removed. By configuration type, without the <c>type.googleapis.com/</c> in front.
/// </summary>
internal static class IstioFilters
{
    public const string TcpMetadataExchange = "envoy.tcp.metadataexchange.config.MetadataExchange";
    public const string PeerMetadata = "io.istio.http.peer_metadata.Config";
    public const string Alpn = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig";
    public const string Authn = "istio.envoy.config.filter.http.authn.v2alpha1.FilterConfig";
    public const string Stats = "stats.PluginConfig";

    /// <summary>True when a filter of this type is on the list.</summary>
    public static bool Contains(string type) => type is TcpMetadataExchange or PeerMetadata or Alpn or Authn or Stats;
}
