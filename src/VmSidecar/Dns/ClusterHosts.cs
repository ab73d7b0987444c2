using System.Text;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Dns;

/// <summary>
/// Reads CDS and RDS responses on their way to Envoy for the hosts they name and keeps the set current, for <see cref="IServiceHostSink"/>, and the
/// ports for <see cref="ServicePorts"/>. A host that only routes name (a VirtualService without a service) counts too. Looks at names and types only;
/// broken messages are left to Envoy to refuse. Any thread; responses come one after the other, as there is one stream to istiod.
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
    private bool _told;                      // the sink has heard from us; under the gate

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
    public Observation? Begin(string typeUrl, bool delta)
    {
        if (typeUrl is not (XdsTypeUrl.Cluster or XdsTypeUrl.Routes)) { return null; }
        bool routes = typeUrl == XdsTypeUrl.Routes;
        lock (_gate) { return new Observation(this, routes, delta, anew: routes ? _routesAnew : _clustersAnew); }
    }

    /// <summary>What one response says; nothing counts before <see cref="Commit"/>. Of a known cluster that can have a virtual IP and has not changed nothing is noted: a large push mostly repeats.</summary>
    internal sealed class Observation(ClusterHosts hosts, bool routes, bool delta, bool anew) // anew: it stands for all, whatever the protocol
    {
        private readonly HashSet<string>? _all = delta && !anew ? null : new(StringComparer.Ordinal); // every cluster, of a service or not, where those it does not name are gone
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
            ReadOnlySpan<byte> encoded = ReadCluster(body, out int type);
            if (hosts.Known(encoded, type) is { } known)
            {
                _all?.Add(known);
                return;
            }
            string name = Encoding.UTF8.GetString(encoded);
            _all?.Add(name);
            if (ServiceCluster.Read(name, type) is { } found) { _services.Add((name, found)); }
        }

        /// <summary>A name of <c>removed_resources</c>.</summary>
        public void Removed(ReadOnlySpan<byte> name) => _removed.Add(Encoding.UTF8.GetString(name));

        /// <summary>The response is whole: takes it over.</summary>
        public void Commit()
        {
            lock (hosts._gate)
            {
                bool changed = routes ? DropRoutes() : DropClusters();
                foreach ((string name, ServiceCluster cluster) in _services) { changed |= hosts.Take(name, cluster); }
                foreach ((string name, string[] named) in _routes) { changed |= hosts.TakeRoutes(name, named); }
                if (changed || !hosts._told) { hosts.Tell(); }
            }
        }

        private bool DropClusters()
        {
            if (anew) { hosts._clustersAnew = false; }
            bool changed = false;
            foreach (string name in _all is { } all ? hosts._clusters.Keys.Where(n => !all.Contains(n)).ToList() : _removed) { changed |= hosts.Forget(name); }
            return changed;
        }

        private bool DropRoutes()
        {
            bool changed = anew && hosts._routes.Count > 0;
            if (anew)
            {
                hosts._routes.Clear();
                hosts._routesAnew = false;
            }
            foreach (string name in delta ? _removed : []) { changed |= hosts._routes.Remove(name); }
            return changed;
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
        _told = true;
        var known = _clusters.Values.Select(c => c.Host).ToHashSet(StringComparer.Ordinal);
        IEnumerable<string> routed = _routes.Values.SelectMany(h => h).Where(h => !known.Contains(h));
        sink.Accept([.. _clusters.Values.Where(c => c.Suits).Select(c => c.Host).Concat(routed).Distinct(StringComparer.Ordinal)]);
    }

    /// <summary>The name, when there is such a service, suits, and does not change by this.</summary>
    private string? Known(ReadOnlySpan<byte> name, int discoveryType)
    {
        const int Longest = 512; // bytes; names are host names with a port and a subset
        if (name.Length > Longest || !ServiceCluster.IsFound(discoveryType)) { return null; }
        Span<char> text = stackalloc char[Longest];
        text = text[..Encoding.UTF8.GetChars(name, text)];
        lock (_gate) { return _clusters.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(text, out string? same, out ServiceCluster cluster) && cluster.Suits ? same : null; }
    }

    private bool Take(string name, ServiceCluster found)
    {
        if (!_clusters.TryGetValue(name, out ServiceCluster before)) { ports.Add(found.Host, found.Port); }
        else if (before == found) { return false; }
        _clusters[name] = found;
        return true;
    }

    private bool TakeRoutes(string name, string[] hosts)
    {
        if (_routes.TryGetValue(name, out string[]? before) && before.SequenceEqual(hosts, StringComparer.Ordinal)) { return false; }
        _routes[name] = hosts;
        return true;
    }

    private static ReadOnlySpan<byte> ReadCluster(ReadOnlySpan<byte> body, out int type)
    {
        var cluster = new ProtoReader(body);
        ReadOnlySpan<byte> name = default;
        type = 0;
        while (cluster.Next())
        {
            if (cluster.Is(ClusterName)) { name = cluster.Bytes; }
            else if (cluster.Number == ClusterType && cluster.Type == ProtoWireType.Varint) { type = (int)Math.Min(cluster.Value, int.MaxValue); }
        }
        return name;
    }

    private bool Forget(string name)
    {
        if (!_clusters.Remove(name, out ServiceCluster gone)) { return false; }
        ports.Remove(gone.Host, gone.Port);
        return true;
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
