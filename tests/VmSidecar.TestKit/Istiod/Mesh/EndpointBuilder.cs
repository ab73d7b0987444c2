using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Endpoints;

namespace VmSidecar.TestKit.Istiod.Mesh;

/// <summary>EDS: one assignment for every name asked for, empty where nothing serves it (silence would keep the cluster warming). Pure.</summary>
internal static class EndpointBuilder
{
    public static ClusterLoadAssignment For(MeshView view, string cluster)
    {
        var assignment = new ClusterLoadAssignment { ClusterName = cluster };
        LbEndpoint[] endpoints = [.. Find(view, cluster).Select(EndpointOf)];
        if (endpoints.Length == 0) { return assignment; }
        assignment.Endpoints.Add(new LocalityLbEndpoints { Locality = new Locality(), LbEndpoints = { endpoints }, LoadBalancingWeight = (uint)endpoints.Length });
        return assignment;
    }

    private static IEnumerable<MeshEndpoint> Find(MeshView view, string cluster)
    {
        foreach (MeshService service in view.Model.Services)
        {
            foreach (MeshPort port in service.Ports)
            {
                if (ClusterBuilder.Outbound(port, "", service.Host) == cluster) { return view.EndpointsOf(service, port, ""); }
                if (view.SubsetsOf(service).FirstOrDefault(s => ClusterBuilder.Outbound(port, s.Name, service.Host) == cluster) is { } subset)
                {
                    return view.EndpointsOf(service, port, subset.Name);
                }
            }
        }
        return [];
    }

    private static LbEndpoint EndpointOf(MeshEndpoint endpoint)
    {
        Metadata metadata = Shapes.Metadata("istio", ("workload", Value.ForString(endpoint.Workload)));
        if (endpoint.ServiceAccount.Length > 0)
        {
            metadata.FilterMetadata["envoy.transport_socket_match"] = Shapes.Fields(("tlsMode", Value.ForString("istio")));
        }
        return new LbEndpoint
        {
            Endpoint = new Endpoint { Address = Shapes.At(endpoint.Address, endpoint.Port) },
            Metadata = metadata,
            LoadBalancingWeight = 1,
        };
    }
}
