using System.Collections.Immutable;
using System.Globalization;

using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Routes;

namespace VmSidecar.TestKit.Istiod.Mesh;

/// <summary>RDS for one node: a virtual host per HTTP service of the port, and everything else as it is. Pure.</summary>
internal static class RouteBuilder
{
    private const string PreviousHosts = "envoy.retry_host_predicates.previous_hosts";

    /// <summary>The configuration named like its port; an unknown one lets everything pass.</summary>
    public static RouteConfiguration For(MeshView view, string name)
    {
        var configuration = new RouteConfiguration { Name = name, ValidateClusters = false };
        if (!view.IsOld)
        {
            configuration.MaxDirectResponseBodySizeBytes = 1048576;
            configuration.IgnorePortInHostMatching = true;
        }
        foreach (MeshService service in view.Model.Services)
        {
            foreach (MeshPort port in service.Ports.Where(p => p.Protocol == MeshProtocol.Http && p.Number.ToString(CultureInfo.InvariantCulture) == name))
            {
                configuration.VirtualHosts.Add(VirtualHostOf(view, service, port));
            }
        }
        configuration.VirtualHosts.Add(new VirtualHost
        {
            Name = "allow_any", Domains = { "*" }, IncludeRequestAttemptCount = true,
            Routes = { new Route { Name = "allow_any", Match = new RouteMatch { Prefix = "/" }, Route_ = Passthrough("PassthroughCluster") } },
        });
        return configuration;
    }

    /// <summary>The route of an inbound chain: everything to one cluster.</summary>
    public static RouteConfiguration Inbound(MeshView view, string cluster, int port)
    {
        string portText = port.ToString(CultureInfo.InvariantCulture);
        RouteAction action = Passthrough(cluster);
        action.MaxGrpcTimeout = null;
        action.MaxStreamDuration = NoStreamLimit();
        return new RouteConfiguration
        {
            Name = cluster,
            ValidateClusters = false,
            VirtualHosts =
            {
                new VirtualHost
                {
                    Name = "inbound|http|" + portText, Domains = { "*" },
                    Routes = { new Route { Name = "default", Match = new RouteMatch { Prefix = "/" }, Route_ = action, Decorator = new Decorator { Operation = $":{portText}/*" } } },
                },
            },
        };
    }

    private static VirtualHost VirtualHostOf(MeshView view, MeshService service, MeshPort port)
    {
        string portText = port.Number.ToString(CultureInfo.InvariantCulture);
        var host = new VirtualHost { Name = $"{service.Host}:{portText}", IncludeRequestAttemptCount = true };
        foreach (string domain in ShortNames(service).Prepend(service.Host).Concat(view.AddressesOf(service)))
        {
            host.Domains.Add(domain);
            if (view.IsOld) { host.Domains.Add($"{domain}:{portText}"); }
        }
        bool ruled = view.Model.Routes.ContainsKey(service.Host);
        host.Routes.Add(new Route
        {
            Name = ruled ? "" : "default",
            Metadata = ruled ? Shapes.Metadata("istio", ("config", Value.ForString(view.ConfigPath(service, "virtual-service")))) : null,
            Match = new RouteMatch { Prefix = "/" },
            Route_ = Destination(view, service, port),
            Decorator = new Decorator { Operation = $"{service.Host}:{portText}/*" },
        });
        return host;
    }

    private static RouteAction Destination(MeshView view, MeshService service, MeshPort port)
    {
        var action = new RouteAction { Timeout = Shapes.Zero, RetryPolicy = Retries(view), MaxGrpcTimeout = Shapes.Zero };
        if (!view.Model.Routes.TryGetValue(service.Host, out ImmutableArray<MeshDestination> destinations) || destinations.IsEmpty)
        {
            action.MaxGrpcTimeout = null;
            action.MaxStreamDuration = NoStreamLimit();
            action.Cluster = ClusterBuilder.Outbound(port, "", service.Host);
            return action;
        }
        if (destinations.Length == 1)
        {
            action.Cluster = ClusterBuilder.Outbound(port, destinations[0].Subset, service.Host);
            return action;
        }
        action.WeightedClusters = new WeightedCluster
        {
            Clusters =
            {
                destinations.Select(d => new WeightedCluster.Types.ClusterWeight { Name = ClusterBuilder.Outbound(port, d.Subset, service.Host), Weight = d.Weight }),
            },
        };
        if (view.IsOld) { action.WeightedClusters.TotalWeight = (uint)destinations.Sum(d => d.Weight); }
        return action;
    }

    /// <summary>The default retries. 1.10 names the host predicate without a configuration, which today's Envoy refuses.</summary>
    private static RetryPolicy Retries(MeshView view)
    {
        var predicate = new RetryPolicy.Types.RetryHostPredicate { Name = PreviousHosts };
        if (!view.IsOld || !view.Model.IstioFilters)
        {
            predicate.TypedConfig = new Any { TypeUrl = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate" };
        }
        return new RetryPolicy
        {
            RetryOn = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
            NumRetries = 2,
            RetryHostPredicate = { predicate },
            HostSelectionRetryMaxAttempts = 5,
            RetriableStatusCodes = { 503 },
        };
    }

    private static RouteAction Passthrough(string cluster) => new() { Cluster = cluster, Timeout = Shapes.Zero, MaxGrpcTimeout = Shapes.Zero };

    private static RouteAction.Types.MaxStreamDuration NoStreamLimit() => new() { MaxStreamDuration_ = Shapes.Zero, GrpcTimeoutHeaderMax = Shapes.Zero };

    private static IEnumerable<string> ShortNames(MeshService service)
    {
        string suffix = $".{service.Namespace}.svc.cluster.local";
        if (!service.Host.EndsWith(suffix, StringComparison.Ordinal)) { return []; }
        string name = service.Host[..^suffix.Length];
        return [name, $"{name}.{service.Namespace}.svc", $"{name}.{service.Namespace}"];
    }
}
