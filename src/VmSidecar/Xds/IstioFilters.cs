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

    /// <summary>
    /// True for a Wasm filter of the null runtime whose plug-in is compiled into Istio's Envoy only: metadata exchange and telemetry, as
    /// istiods up to 1.17 send them. No Envoy lists its null plug-ins, so this is for Envoys that are not Istio's; plug-ins of others are left alone.
    /// </summary>
    public static bool IsBuiltInWasm(string type, ReadOnlySpan<byte> config) =>
        WasmConfig.IsWasm(type) && WasmConfig.Read(config) is { Runtime: "envoy.wasm.runtime.null" } wasm
        && wasm.Inline is "envoy.wasm.metadata_exchange" or "envoy.wasm.stats" or "envoy.wasm.attributegen" or "envoy.wasm.access_log_policy" or "envoy.wasm.null.stackdriver";
}
