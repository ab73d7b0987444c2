using System.Collections.Immutable;
using System.Text.Json;

using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Clusters;
using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Endpoints;
using VmSidecar.EnvoyApi.Http;
using VmSidecar.EnvoyApi.Listeners;
using VmSidecar.EnvoyApi.Routes;

namespace VmSidecar.MiniEnvoy.Startup;

/// <summary>Reads a bootstrap in JSON and refuses what Envoy would. One use per start.</summary>
internal sealed class BootstrapReader(bool allowUnknown)
{
    public Bootstrap Read(string json)
    {
        JsonDocument document;
        try { document = JsonDocument.Parse(json); }
        catch (JsonException e) { throw new BootstrapException($"Unable to parse JSON as proto (INVALID_ARGUMENT: {e.Message})"); }
        using (document)
        {
            JsonElement root = document.RootElement;
            Check(root, "bootstrap.v3.Bootstrap");
            JsonElement resources = Get(root, "static_resources") ?? throw new BootstrapException("static_resources is missing");
            Check(resources, "bootstrap.v3.StaticResources");
            ImmutableArray<Cluster> clusters = [.. Items(resources, "clusters").Select(ReadCluster)];
            (bool delta, string? ads) = ReadDynamic(root, clusters);
            return new Bootstrap(
                ReadNode(root), ReadAdmin(root), delta, ads, clusters, [.. Items(resources, "listeners").Select(l => ReadListener(l, clusters))], [.. ReadPatterns(root)], ReadLogFormat(root));
        }
    }

    private Node ReadNode(JsonElement root)
    {
        JsonElement node = Get(root, "node") ?? throw new BootstrapException("envoy: node id and cluster are required for ADS");
        Check(node, "core.v3.Node");
        var read = new Node { Id = Text(node, "id"), Cluster = Text(node, "cluster"), Locality = new Locality() };
        if (read.Id.Length == 0 || read.Cluster.Length == 0)
        {
            throw new BootstrapException("ads: node 'id' and 'cluster' are required. Set it either in 'node' config or via --service-node and --service-cluster options.");
        }
        if (Get(node, "locality") is { } locality)
        {
            Check(locality, "core.v3.Locality");
            read.Locality = new Locality { Region = Text(locality, "region"), Zone = Text(locality, "zone"), SubZone = Text(locality, "sub_zone") };
        }
        if (Get(node, "metadata") is { } metadata) { read.Metadata = JsonParser.Default.Parse<Struct>(metadata.GetRawText()); }
        return read;
    }

    private SocketAddress? ReadAdmin(JsonElement root)
    {
        if (Get(root, "admin") is not { } admin) { return null; }
        Check(admin, "bootstrap.v3.Admin");
        return Get(admin, "address") is { } address ? ReadAddress(address).SocketAddress : null;
    }

    private (bool Delta, string? Cluster) ReadDynamic(JsonElement root, ImmutableArray<Cluster> clusters)
    {
        if (Get(root, "dynamic_resources") is not { } dynamic) { return (false, null); }
        Check(dynamic, "bootstrap.v3.DynamicResources");
        if (Get(dynamic, "ads_config") is not { } ads) { throw new BootstrapException("ads_config is missing"); }
        string type = Text(ads, "api_type");
        if (type is not ("GRPC" or "DELTA_GRPC")) { throw new BootstrapException($"unsupported api_type {type} for ADS"); }
        string cluster = Items(ads, "grpc_services").Select(g => Get(g, "envoy_grpc")).Where(g => g is not null).Select(g => Text(g!.Value, "cluster_name")).FirstOrDefault("");
        if (clusters.All(c => c.Name != cluster)) { throw new BootstrapException($"envoy.config.core.v3.ApiConfigSource must have a statically defined non-EDS cluster: '{cluster}' does not exist"); }
        return (type == "DELTA_GRPC", cluster);
    }

    private Cluster ReadCluster(JsonElement json)
    {
        Check(json, "cluster.v3.Cluster");
        string type = Text(json, "type");
        if (!System.Enum.TryParse(type.Replace("_", "", StringComparison.Ordinal), ignoreCase: true, out Cluster.Types.DiscoveryType kind)) { throw new BootstrapException($"unknown cluster type '{type}'"); }
        var cluster = new Cluster { Name = Text(json, "name"), Type = kind, ConnectTimeout = Duration.FromTimeSpan(ReadSeconds(Text(json, "connect_timeout"))) };
        if (cluster.Name.Length == 0) { throw new BootstrapException("ClusterValidationError.Name: value length must be at least 1 characters"); }
        cluster.LoadAssignment = new ClusterLoadAssignment { ClusterName = cluster.Name };
        if (Get(json, "load_assignment") is not { } assignment) { return cluster; }
        foreach (JsonElement locality in Items(assignment, "endpoints"))
        {
            var group = new LocalityLbEndpoints();
            foreach (JsonElement host in Items(locality, "lb_endpoints"))
            {
                JsonElement address = Get(Get(host, "endpoint") ?? host, "address") ?? throw new BootstrapException($"{cluster.Name}: an endpoint without an address");
                group.LbEndpoints.Add(new LbEndpoint { Endpoint = new Endpoint { Address = ReadAddress(address) } });
            }
            cluster.LoadAssignment.Endpoints.Add(group);
        }
        return cluster;
    }

    private Listener ReadListener(JsonElement json, ImmutableArray<Cluster> clusters)
    {
        Check(json, "listener.v3.Listener");
        var listener = new Listener { Name = Text(json, "name"), Address = ReadAddress(Get(json, "address") ?? throw new BootstrapException("a listener without an address")) };
        foreach (JsonElement chain in Items(json, "filter_chains"))
        {
            var read = new FilterChain();
            foreach (JsonElement filter in Items(chain, "filters"))
            {
                read.Filters.Add(new EnvoyApi.Listeners.Filter { Name = Text(filter, "name"), TypedConfig = Any.Pack(ReadHttp(Get(filter, "typed_config") ?? filter, clusters)) });
            }
            listener.FilterChains.Add(read);
        }
        return listener;
    }

    private static HttpConnectionManager ReadHttp(JsonElement json, ImmutableArray<Cluster> clusters)
    {
        if (Text(json, "@type") is var type && !type.EndsWith(".HttpConnectionManager", StringComparison.Ordinal)) { throw new BootstrapException($"static listeners: no implementation for {type}"); }
        var configuration = new RouteConfiguration();
        JsonElement routes = Get(json, "route_config") ?? throw new BootstrapException("a static HttpConnectionManager without route_config");
        foreach (JsonElement host in Items(routes, "virtual_hosts"))
        {
            var read = new VirtualHost { Name = Text(host, "name"), Domains = { Items(host, "domains").Select(d => d.GetString() ?? "") } };
            foreach (JsonElement route in Items(host, "routes"))
            {
                string cluster = Text(Get(route, "route") ?? route, "cluster");
                if (clusters.All(c => c.Name != cluster)) { throw new BootstrapException($"route: unknown cluster '{cluster}'"); }
                JsonElement match = Get(route, "match") ?? throw new BootstrapException("a route without a match");
                read.Routes.Add(new Route
                {
                    Match = Get(match, "path") is { } path ? new RouteMatch { Path = path.GetString() ?? "" } : new RouteMatch { Prefix = Text(match, "prefix") },
                    Route_ = new RouteAction { Cluster = cluster },
                });
            }
            configuration.VirtualHosts.Add(read);
        }
        return new HttpConnectionManager { StatPrefix = Text(json, "stat_prefix"), RouteConfig = configuration, HttpFilters = { new HttpFilter { Name = Resources.KnownExtensions.Router } } };
    }

    private Address ReadAddress(JsonElement json)
    {
        if (Get(json, "pipe") is { } pipe) { return new Address { Pipe = new Pipe { Path = Text(pipe, "path") } }; }
        if (Get(json, "socket_address") is not { } socket) { throw new BootstrapException("AddressValidationError.Address: is required"); }
        Check(socket, "core.v3.SocketAddress");
        uint port = Get(socket, "port_value") is { } value && value.TryGetUInt32(out uint number) && number <= 65535 ? number : throw new BootstrapException("SocketAddress.PortValue: must be a port");
        return new Address { SocketAddress = new SocketAddress { Address = Text(socket, "address"), PortValue = port } };
    }

    private static IEnumerable<(string Kind, string Text)> ReadPatterns(JsonElement root)
    {
        if (Get(root, "stats_config") is not { } stats || Get(stats, "stats_matcher") is not { } matcher || Get(matcher, "inclusion_list") is not { } list) { yield break; }
        foreach (JsonProperty pattern in Items(list, "patterns").SelectMany(p => p.EnumerateObject()))
        {
            yield return (pattern.Name, pattern.Value.ValueKind == JsonValueKind.Object ? Text(pattern.Value, "regex") : pattern.Value.GetString() ?? "");
        }
    }

    private static string? ReadLogFormat(JsonElement root) =>
        Get(root, "application_log_config") is { } log && Get(log, "log_format") is { } format && Get(format, "text_format") is { } text ? text.GetString() : null;

    private static TimeSpan ReadSeconds(string text) =>
        text.EndsWith('s') && double.TryParse(text.AsSpan(0, text.Length - 1), System.Globalization.CultureInfo.InvariantCulture, out double seconds) ? TimeSpan.FromSeconds(seconds) : TimeSpan.FromSeconds(5);

    private void Check(JsonElement value, string message) => BootstrapSchema.Check(value, message, allowUnknown);

    private static JsonElement? Get(JsonElement value, string name) => value.ValueKind == JsonValueKind.Object ? BootstrapSchema.Member(value, name) : null;

    private static string Text(JsonElement value, string name) => Get(value, name) is { ValueKind: JsonValueKind.String } text ? text.GetString()! : "";

    private static IEnumerable<JsonElement> Items(JsonElement value, string name) => Get(value, name) is { ValueKind: JsonValueKind.Array } items ? items.EnumerateArray() : [];
}
