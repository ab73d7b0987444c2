using System.Text;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Dns;

/// <summary>
/// Reads CDS and RDS responses on their way to Envoy for the hosts they name and keeps the set current, for <see cref="IServiceHostSink"/>, and the
/// ports for <see cref="ServicePorts"/>. A host that only routes name (a VirtualService without a service) counts too. Looks at names and types only;
/// broken messages are left to Envoy to refuse. Thread-safe: two Envoys may overlap for a moment.
/// </summary>
internal sealed class ClusterHosts(IServiceHostSink sink, ServicePorts ports)
{
    // envoy.service.discovery.v3: both kinds of response have their resources in 2; Resource.resource is 2; Any.value is 2
    private const int Resources = 2, ResourceAny = 2, AnyValue = 2, RemovedResources = 6;
    private const int ClusterName = 1, ClusterType = 2;  // envoy.config.cluster.v3.Cluster
    private const int RouteName = 1, VirtualHosts = 2;   // envoy.config.route.v3.RouteConfiguration
    private const int VirtualHostName = 1;               // envoy.config.route.v3.VirtualHost

    private readonly Lock _gate = new();
    private readonly Dictionary<string, ServiceCluster> _clusters = new(StringComparer.Ordinal); // by cluster; survives a new stream, on which delta may send changes only
    private readonly Dictionary<string, string[]> _routes = new(StringComparer.Ordinal);         // by route configuration; SotW may send some of them only

    /// <summary>Takes a whole DiscoveryResponse (the full state) or DeltaDiscoveryResponse of clusters.</summary>
    public void Observe(bool delta, ReadOnlySpan<byte> response)
    {
        lock (_gate)
        {
            HashSet<string> gone = delta ? [] : [.. _clusters.Keys];
            var fields = new ProtoReader(response);
            while (fields.Next())
            {
                if (fields.Is(Resources)) { gone.Remove(TakeCluster(delta ? Inner(fields.Bytes, ResourceAny) : fields.Bytes)); }
                else if (delta && fields.Is(RemovedResources)) { gone.Add(Encoding.UTF8.GetString(fields.Bytes)); }
            }
            foreach (string name in gone) { Forget(name); }
            Tell();
        }
    }

    /// <summary>Takes a response of route configurations.</summary>
    public void ObserveRoutes(bool delta, ReadOnlySpan<byte> response)
    {
        lock (_gate)
        {
            var fields = new ProtoReader(response);
            while (fields.Next())
            {
                if (fields.Is(Resources)) { TakeRoutes(delta ? Inner(fields.Bytes, ResourceAny) : fields.Bytes); }
                else if (delta && fields.Is(RemovedResources)) { _routes.Remove(Encoding.UTF8.GetString(fields.Bytes)); }
            }
            Tell();
        }
    }

    private void Tell()
    {
        var known = _clusters.Values.Select(c => c.Host).ToHashSet(StringComparer.Ordinal);
        IEnumerable<string> routed = _routes.Values.SelectMany(h => h).Where(h => !known.Contains(h));
        sink.Accept([.. _clusters.Values.Where(c => c.Suits).Select(c => c.Host).Concat(routed).Distinct(StringComparer.Ordinal)]);
    }

    /// <summary>Takes one cluster and returns its name.</summary>
    private string TakeCluster(ReadOnlySpan<byte> any)
    {
        var cluster = new ProtoReader(Inner(any, AnyValue));
        string name = "";
        int type = 0;
        while (cluster.Next())
        {
            if (cluster.Is(ClusterName)) { name = Encoding.UTF8.GetString(cluster.Bytes); }
            else if (cluster.Number == ClusterType && cluster.Type == ProtoWireType.Varint) { type = (int)Math.Min(cluster.Value, int.MaxValue); }
        }
        if (ServiceCluster.Read(name, type) is not { } found) { return name; }
        if (!_clusters.ContainsKey(name)) { ports.Add(found.Host, found.Port); }
        _clusters[name] = found;
        return name;
    }

    private void Forget(string name)
    {
        if (_clusters.Remove(name, out ServiceCluster gone)) { ports.Remove(gone.Host, gone.Port); }
    }

    private void TakeRoutes(ReadOnlySpan<byte> any)
    {
        var route = new ProtoReader(Inner(any, AnyValue));
        string name = "";
        List<string> hosts = [];
        while (route.Next())
        {
            if (route.Is(RouteName)) { name = Encoding.UTF8.GetString(route.Bytes); }
            else if (route.Is(VirtualHosts) && ServiceCluster.HostOfRoute(Encoding.UTF8.GetString(Inner(route.Bytes, VirtualHostName))) is { } host) { hosts.Add(host); }
        }
        _routes[name] = [.. hosts];
    }

    private static ReadOnlySpan<byte> Inner(ReadOnlySpan<byte> message, int number)
    {
        var fields = new ProtoReader(message);
        while (fields.Next())
        {
            if (fields.Is(number)) { return fields.Bytes; }
        }
        return default;
    }
}
