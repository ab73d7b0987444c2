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

    private bool _clustersAnew, _routesAnew; // the next response stands for all; under the gate

    /// <summary>Takes a whole DiscoveryResponse (the full state) or DeltaDiscoveryResponse of clusters.</summary>
    public void Observe(bool delta, ReadOnlySpan<byte> response) => Observe(Begin(XdsTypeUrl.Cluster, delta)!, response);

    /// <summary>Takes a response of route configurations.</summary>
    public void ObserveRoutes(bool delta, ReadOnlySpan<byte> response) => Observe(Begin(XdsTypeUrl.Routes, delta)!, response);

    /// <summary>
    /// A stream asks for a type for the first time. <paramref name="holdsNothing"/>: the one who asks has no resource of it, so what is not in the answer does not exist any
    /// more; without that, delta tells what is gone.
    /// </summary>
    public void Begins(string typeUrl, bool holdsNothing)
    {
        lock (_gate)
        {
            if (typeUrl == XdsTypeUrl.Cluster) { _clustersAnew = holdsNothing; }
            else if (typeUrl == XdsTypeUrl.Routes) { _routesAnew = holdsNothing; }
        }
    }

    /// <summary>Begins a response that comes field by field; null for a type that tells nothing.</summary>
    public Observation? Begin(string typeUrl, bool delta) => typeUrl is XdsTypeUrl.Cluster or XdsTypeUrl.Routes ? new(this, typeUrl == XdsTypeUrl.Routes, delta) : null;

    /// <summary>What one response says; nothing counts before <see cref="Commit"/>.</summary>
    internal sealed class Observation(ClusterHosts hosts, bool routes, bool delta)
    {
        private readonly HashSet<string> _clusters = new(StringComparer.Ordinal); // every name, of services or not
        private readonly List<(string Name, ServiceCluster Cluster)> _services = [];
        private readonly List<(string Name, string[] Hosts)> _routes = [];
        private readonly List<string> _removed = [];

        /// <summary>The content of one resource field: an Any, or for delta a Resource.</summary>
        public void Resource(ReadOnlySpan<byte> resource)
        {
            ReadOnlySpan<byte> body = Inner(delta ? Inner(resource, ResourceAny) : resource, AnyValue);
            if (routes)
            {
                _routes.Add(ReadRoutes(body));
                return;
            }
            (string name, int type) = ReadCluster(body);
            _clusters.Add(name);
            if (ServiceCluster.Read(name, type) is { } found) { _services.Add((name, found)); }
        }

        /// <summary>A name of <c>removed_resources</c>.</summary>
        public void Removed(ReadOnlySpan<byte> name) => _removed.Add(Encoding.UTF8.GetString(name));

        /// <summary>The response is whole: takes it over.</summary>
        public void Commit()
        {
            lock (hosts._gate)
            {
                if (routes) { DropRoutes(); } else { DropClusters(); }
                foreach ((string name, ServiceCluster cluster) in _services) { hosts.Take(name, cluster); }
                foreach ((string name, string[] named) in _routes) { hosts._routes[name] = named; }
                hosts.Tell();
            }
        }

        private void DropClusters()
        {
            bool whole = !delta || hosts._clustersAnew;
            hosts._clustersAnew = false;
            foreach (string name in whole ? hosts._clusters.Keys.Where(n => !_clusters.Contains(n)).ToList() : _removed) { hosts.Forget(name); }
        }

        private void DropRoutes()
        {
            if (hosts._routesAnew) { hosts._routes.Clear(); }
            hosts._routesAnew = false;
            if (!delta) { return; }
            foreach (string name in _removed) { hosts._routes.Remove(name); }
        }
    }

    private static void Observe(Observation seen, ReadOnlySpan<byte> response)
    {
        var fields = new ProtoReader(response);
        while (fields.Next())
        {
            if (fields.Is(Resources)) { seen.Resource(fields.Bytes); }
            else if (fields.Is(RemovedResources)) { seen.Removed(fields.Bytes); } // SotW has no such field; Commit does not look at it then
        }
        seen.Commit();
    }

    private void Tell()
    {
        var known = _clusters.Values.Select(c => c.Host).ToHashSet(StringComparer.Ordinal);
        IEnumerable<string> routed = _routes.Values.SelectMany(h => h).Where(h => !known.Contains(h));
        sink.Accept([.. _clusters.Values.Where(c => c.Suits).Select(c => c.Host).Concat(routed).Distinct(StringComparer.Ordinal)]);
    }

    private void Take(string name, ServiceCluster found)
    {
        if (!_clusters.ContainsKey(name)) { ports.Add(found.Host, found.Port); }
        _clusters[name] = found;
    }

    private static (string Name, int Type) ReadCluster(ReadOnlySpan<byte> body)
    {
        var cluster = new ProtoReader(body);
        string name = "";
        int type = 0;
        while (cluster.Next())
        {
            if (cluster.Is(ClusterName)) { name = Encoding.UTF8.GetString(cluster.Bytes); }
            else if (cluster.Number == ClusterType && cluster.Type == ProtoWireType.Varint) { type = (int)Math.Min(cluster.Value, int.MaxValue); }
        }
        return (name, type);
    }

    private void Forget(string name)
    {
        if (_clusters.Remove(name, out ServiceCluster gone)) { ports.Remove(gone.Host, gone.Port); }
    }

    private static (string Name, string[] Hosts) ReadRoutes(ReadOnlySpan<byte> body)
    {
        var route = new ProtoReader(body);
        string name = "";
        List<string> hosts = [];
        while (route.Next())
        {
            if (route.Is(RouteName)) { name = Encoding.UTF8.GetString(route.Bytes); }
            else if (route.Is(VirtualHosts) && ServiceCluster.HostOfRoute(Encoding.UTF8.GetString(Inner(route.Bytes, VirtualHostName))) is { } host) { hosts.Add(host); }
        }
        return (name, [.. hosts]);
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
