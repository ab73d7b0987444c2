using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Http;
using VmSidecar.EnvoyApi.Listeners;
using VmSidecar.EnvoyApi.Tcp;
using VmSidecar.EnvoyApi.Tls;

namespace VmSidecar.MiniEnvoy.Resources;

/// <summary>One filter chain, checked: TLS or none, and either HTTP or TCP at its end. Immutable.</summary>
internal sealed class ChainEntry
{
    public ChainEntry(FilterChain config, SecretStore secrets)
    {
        Match = config.FilterChainMatch ?? new FilterChainMatch();
        Name = config.Name;
        Filter[] filters = [.. config.Filters];
        foreach (Filter filter in filters) { KnownExtensions.Require("envoy.filters.network", filter.Name, filter.TypedConfig); }
        if (filters.Length != 1) { throw new RejectedException($"filter chain '{config.Name}' has {filters.Length} network filters; one terminal filter is served"); }
        Any last = filters[0].TypedConfig;
        if (last.Is(TcpProxy.Descriptor)) { Tcp = last.Unpack<TcpProxy>(); }
        else
        {
            Http = last.Unpack<HttpConnectionManager>();
            if (Http.HttpFilters.Count == 0 || Http.HttpFilters[^1].Name != KnownExtensions.Router) { throw new RejectedException("Error: non-terminal filter is the last filter in a http filter chain."); }
        }
        if (config.TransportSocket is not { } socket) { return; }
        KnownExtensions.Require("envoy.transport_sockets.downstream", socket.Name, socket.TypedConfig);
        if (!socket.TypedConfig.Is(DownstreamTlsContext.Descriptor)) { return; }
        DownstreamTlsContext tls = socket.TypedConfig.Unpack<DownstreamTlsContext>();
        Tls = new TlsPolicy(tls.CommonTlsContext, secrets) { RequireClient = tls.RequireClientCertificate ?? false };
    }

    public FilterChainMatch Match { get; }

    public string Name { get; }

    public TcpProxy? Tcp { get; }

    public HttpConnectionManager? Http { get; }

    public TlsPolicy? Tls { get; }

    public string? RouteName => Http?.Rds?.RouteConfigName;

    /// <summary>Refuses HTTP filters that are not known; static listeners skip this, their filters are the bootstrap's.</summary>
    public void CheckHttpFilters()
    {
        foreach (HttpFilter filter in Http?.HttpFilters ?? [])
        {
            if (!filter.IsOptional) { KnownExtensions.Require("envoy.filters.http", filter.Name, filter.TypedConfig); }
        }
    }
}
