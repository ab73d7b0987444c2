using System.Globalization;

using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Listeners;

namespace VmSidecar.TestKit.Istiod.Mesh;

/// <summary>The outbound half of LDS: one listener per HTTP port and per TCP address, and 15001 that hands connections to them by original destination. Pure.</summary>
internal static class ListenerBuilder
{
    public const int OutboundPort = 15001;

    public static IEnumerable<Listener> All(MeshView view)
    {
        foreach (int port in HttpPorts(view)) { yield return Http(view, port); }
        foreach (MeshService service in view.Model.Services)
        {
            foreach (MeshPort port in service.Ports.Where(p => p.Protocol == MeshProtocol.Tcp))
            {
                foreach (string address in view.AddressesOf(service)) { yield return Tcp(view, service, port, address); }
            }
        }
        yield return VirtualOutbound(view);
        yield return InboundBuilder.VirtualInbound(view);
    }

    private static IEnumerable<int> HttpPorts(MeshView view) =>
        view.Model.Services.SelectMany(s => s.Ports).Where(p => p.Protocol == MeshProtocol.Http).Select(p => p.Number).Distinct().Order();

    private static Listener Http(MeshView view, int port)
    {
        var match = new FilterChainMatch { TransportProtocol = "raw_buffer" };
        match.ApplicationProtocols.AddRange(view.IsOld ? ["http/1.0", "http/1.1", "h2c"] : ["http/1.1", "h2c"]);
        var listener = new Listener
        {
            Name = string.Create(CultureInfo.InvariantCulture, $"0.0.0.0_{port}"),
            Address = Shapes.At("0.0.0.0", port),
            FilterChains = { new FilterChain { FilterChainMatch = match, Filters = { FilterBuilder.OutboundHttp(view, port) } } },
            DefaultFilterChain = new FilterChain
            {
                Name = "PassthroughFilterChain", FilterChainMatch = new FilterChainMatch(), Filters = { FilterBuilder.Tcp(view, "PassthroughCluster") },
            },
            ListenerFiltersTimeout = Shapes.Zero,
            ContinueOnListenerFiltersTimeout = true,
        };
        if (view.IsOld) { listener.ListenerFilters.Add(FilterBuilder.TlsInspector()); }
        listener.ListenerFilters.Add(FilterBuilder.HttpInspector());
        return Unbound(view, listener);
    }

    private static Listener Tcp(MeshView view, MeshService service, MeshPort port, string address) => Unbound(view, new Listener
    {
        Name = string.Create(CultureInfo.InvariantCulture, $"{address}_{port.Number}"),
        Address = Shapes.At(address, port.Number),
        FilterChains = { new FilterChain { Filters = { FilterBuilder.Tcp(view, ClusterBuilder.Outbound(port, "", service.Host)) } } },
    });

    /// <summary>Not bound: only 15001 hands connections to it.</summary>
    private static Listener Unbound(MeshView view, Listener listener)
    {
        listener.TrafficDirection = TrafficDirection.Outbound;
        if (view.IsOld) { listener.DeprecatedV1 = new Listener.Types.DeprecatedV1 { BindToPort = false }; }
        else { listener.BindToPort = false; }
        return listener;
    }

    private static Listener VirtualOutbound(MeshView view) => new()
    {
        Name = "virtualOutbound",
        Address = Shapes.At("0.0.0.0", OutboundPort),
        UseOriginalDst = true,
        TrafficDirection = TrafficDirection.Outbound,
        FilterChains =
        {
            new FilterChain // a client that dials 15001 itself would loop
            {
                Name = "virtualOutbound-blackhole", FilterChainMatch = new FilterChainMatch { DestinationPort = OutboundPort }, Filters = { FilterBuilder.Tcp(view, "BlackHoleCluster") },
            },
            new FilterChain { Name = "virtualOutbound-catchall-tcp", Filters = { FilterBuilder.Tcp(view, "PassthroughCluster") } },
        },
    };
}
