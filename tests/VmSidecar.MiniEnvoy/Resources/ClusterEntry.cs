using System.Collections.Immutable;

using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Clusters;
using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Tls;

namespace VmSidecar.MiniEnvoy.Resources;

/// <summary>One cluster: configuration, hosts, the ways to secure a connection. Hosts change by EDS, everything else by a new entry.</summary>
internal sealed class ClusterEntry
{
    private readonly ImmutableArray<(Struct Match, TlsPolicy? Tls)> _sockets;
    private readonly TlsPolicy? _otherwise;
    private ImmutableArray<Upstream> _hosts = [];
    private volatile bool _assigned;
    private int _next = -1;

    public ClusterEntry(Cluster config, SecretStore secrets, bool isStatic)
    {
        Config = config;
        IsStatic = isStatic;
        if (config.Type is Cluster.Types.DiscoveryType.StrictDns or Cluster.Types.DiscoveryType.LogicalDns && !isStatic) { throw new RejectedException($"cluster {config.Name}: DNS clusters are not served by this data plane"); }
        foreach (Filter filter in config.Filters) { KnownExtensions.Require("envoy.filters.upstream_network", filter.Name, filter.TypedConfig); }
        _sockets = [.. config.TransportSocketMatches.Select(m => (m.Match ?? new Struct(), PolicyOf(m.TransportSocket, secrets)))];
        _otherwise = config.TransportSocket is null ? null : PolicyOf(config.TransportSocket, secrets);
        if (config.LoadAssignment is { } assignment && config.Type != Cluster.Types.DiscoveryType.Eds && !HasNames(assignment)) { Assign(assignment); }
    }

    public Cluster Config { get; }

    public bool IsStatic { get; }

    public string Name => Config.Name;

    public ImmutableArray<Upstream> Hosts => _hosts;

    /// <summary>Goes where the client wanted to.</summary>
    public bool IsOriginalDestination => Config.Type == Cluster.Types.DiscoveryType.OriginalDst;

    public string? EdsName => Config.Type != Cluster.Types.DiscoveryType.Eds ? null : Config.EdsClusterConfig?.ServiceName is { Length: > 0 } name ? name : Name;

    /// <summary>Hosts and secrets are there.</summary>
    public bool IsWarm => (EdsName is null || _assigned) && Policies.All(p => p.IsReady);

    private IEnumerable<TlsPolicy> Policies => _sockets.Select(s => s.Tls).Append(_otherwise).OfType<TlsPolicy>();

    public void Assign(EnvoyApi.Endpoints.ClusterLoadAssignment assignment)
    {
        ImmutableInterlocked.InterlockedExchange(ref _hosts, [.. Upstream.From(assignment)]);
        _assigned = true;
    }

    /// <summary>A changed cluster serves with the hosts it had until the control plane names others.</summary>
    public void TakeHostsOf(ClusterEntry earlier)
    {
        if (EdsName is null || earlier.EdsName != EdsName || !earlier._assigned) { return; }
        ImmutableInterlocked.InterlockedExchange(ref _hosts, earlier._hosts);
        _assigned = true;
    }

    /// <summary>The next host: round robin in proportion to weight among the healthy ones of the first priority that has any; never one already tried while others are left.</summary>
    public Upstream? Pick(IReadOnlyCollection<Upstream> tried)
    {
        Upstream[] able = [.. _hosts.Where(h => h.IsHealthy && !tried.Contains(h))];
        if (able.Length == 0) { return null; }
        uint first = able.Min(h => h.Priority);
        able = [.. able.Where(h => h.Priority == first)];
        long total = able.Sum(h => (long)h.Weight);
        bool even = able.All(h => h.Weight == able[0].Weight);
        if (even) { return able[(int)((uint)Interlocked.Increment(ref _next) % (uint)able.Length)]; }
        long point = Random.Shared.NextInt64(total);
        return able.First(h => (point -= h.Weight) < 0);
    }

    /// <summary>TLS towards a host, or null for plain bytes: the first match whose every field the host's metadata has.</summary>
    public TlsPolicy? TlsFor(Upstream host)
    {
        foreach ((Struct match, TlsPolicy? tls) in _sockets)
        {
            if (match.Fields.All(f => host.TransportMatch?.Fields.TryGetValue(f.Key, out Value? value) == true && value.Equals(f.Value))) { return tls; }
        }
        return _otherwise;
    }

    private static bool HasNames(EnvoyApi.Endpoints.ClusterLoadAssignment assignment) =>
        assignment.Endpoints.SelectMany(e => e.LbEndpoints).Any(h => h.Endpoint?.Address?.SocketAddress is { } socket && !System.Net.IPAddress.TryParse(socket.Address, out _));

    private static TlsPolicy? PolicyOf(TransportSocket socket, SecretStore secrets)
    {
        KnownExtensions.Require("envoy.transport_sockets.upstream", socket.Name, socket.TypedConfig);
        if (!socket.TypedConfig.Is(UpstreamTlsContext.Descriptor)) { return null; }
        UpstreamTlsContext context = socket.TypedConfig.Unpack<UpstreamTlsContext>();
        return new TlsPolicy(context.CommonTlsContext, secrets) { Sni = context.Sni };
    }
}
