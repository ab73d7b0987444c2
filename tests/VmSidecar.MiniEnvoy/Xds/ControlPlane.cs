using System.Globalization;

using VmSidecar.EnvoyApi.Clusters;
using VmSidecar.EnvoyApi.Core;
using VmSidecar.Grpc;
using VmSidecar.MiniEnvoy.Resources;
using VmSidecar.MiniEnvoy.Startup;

namespace VmSidecar.MiniEnvoy.Xds;

/// <summary>The way to the static clusters that speak gRPC, and the node as Envoy sends it. Pure.</summary>
internal static class ControlPlane
{
    // Envoy's own defaults of JitteredExponentialBackOffStrategy for xDS.
    private static readonly TimeSpan FirstDelay = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan LongestDelay = TimeSpan.FromSeconds(30);

    /// <summary>Random in [0, 500 ms), doubling with each failure, at most 30 s.</summary>
    public static TimeSpan Delay(int failures) =>
        Random.Shared.NextDouble() * TimeSpan.FromTicks(Math.Min(LongestDelay.Ticks, FirstDelay.Ticks << Math.Min(failures, 16)));

    /// <summary>A connection of its own (max_requests_per_connection 1). Authority is the cluster's name, as Envoy sends it.</summary>
    public static GrpcChannel Connect(Bootstrap bootstrap, string cluster)
    {
        Cluster found = bootstrap.Clusters.First(c => c.Name == cluster);
        Address address = found.LoadAssignment.Endpoints[0].LbEndpoints[0].Endpoint.Address;
        string target = address.Pipe is { } pipe ? "unix:" + pipe.Path : string.Create(CultureInfo.InvariantCulture, $"{address.SocketAddress.Address}:{address.SocketAddress.PortValue}");
        return new GrpcChannel(GrpcChannelOptions.For(target, authority: cluster) with { ConnectTimeout = found.ConnectTimeout.ToTimeSpan() });
    }

    /// <summary>The node with what this data plane can load.</summary>
    public static Node NodeOf(Bootstrap bootstrap)
    {
        Node node = bootstrap.Node.Clone();
        node.UserAgentName = "envoy";
        node.UserAgentVersion = "1.40.0-mini";
        node.Extensions.AddRange(KnownExtensions.All);
        node.ClientFeatures.AddRange(["envoy.lb.does_not_support_overprovisioning", "envoy.lrs.supports_send_all_clusters"]);
        return node;
    }
}
