using System.Collections.Immutable;

using VmSidecar.EnvoyApi.Clusters;
using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Listeners;

namespace VmSidecar.MiniEnvoy.Startup;

/// <summary>The bootstrap as far as MiniEnvoy acts on it.</summary>
/// <param name="Node">Identity sent to the control plane, extensions not yet filled in.</param>
/// <param name="Admin">Where the admin API listens; null: nowhere.</param>
/// <param name="IsDelta">ads_config.api_type is DELTA_GRPC.</param>
/// <param name="AdsCluster">The cluster that ads_config names; null: no dynamic resources.</param>
/// <param name="Clusters">Static clusters.</param>
/// <param name="Listeners">Static listeners.</param>
/// <param name="StatPatterns">stats_matcher inclusion list: kind (prefix, suffix, exact, contains, safe_regex) and text; empty: everything.</param>
/// <param name="LogFormat">application_log_config text format, or null.</param>
internal sealed record Bootstrap(
    Node Node,
    SocketAddress? Admin,
    bool IsDelta,
    string? AdsCluster,
    ImmutableArray<Cluster> Clusters,
    ImmutableArray<Listener> Listeners,
    ImmutableArray<(string Kind, string Text)> StatPatterns,
    string? LogFormat);
