using System.Net;

using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Endpoints;

namespace VmSidecar.MiniEnvoy.Resources;

/// <summary>One host of a cluster.</summary>
internal sealed record Upstream(EndPoint Address, string Text, uint Weight, uint Priority, bool IsHealthy, Struct? TransportMatch)
{
    public static IEnumerable<Upstream> From(ClusterLoadAssignment assignment)
    {
        foreach (LocalityLbEndpoints locality in assignment.Endpoints)
        {
            foreach (LbEndpoint host in locality.LbEndpoints)
            {
                if (host.Endpoint?.Address is not { } address || Parse(address) is not { } parsed) { throw new RejectedException($"malformed IP address in the assignment of {assignment.ClusterName}"); }
                Struct? match = null;
                host.Metadata?.FilterMetadata.TryGetValue("envoy.transport_socket_match", out match);
                bool healthy = host.HealthStatus is HealthStatus.Unknown or HealthStatus.Healthy or HealthStatus.Degraded;
                yield return new Upstream(parsed, parsed.ToString()!, Math.Max(1, host.LoadBalancingWeight ?? 1), locality.Priority, healthy, match);
            }
        }
    }

    private static EndPoint? Parse(Address address)
    {
        if (address.Pipe is { } pipe) { return new System.Net.Sockets.UnixDomainSocketEndPoint(pipe.Path); }
        return IPAddress.TryParse(address.SocketAddress?.Address, out IPAddress? ip) ? new IPEndPoint(ip, (int)address.SocketAddress.PortValue) : null;
    }
}
