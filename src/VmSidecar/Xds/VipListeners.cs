using System.Globalization;

using VmSidecar.Dns;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Xds;

/// <summary>
/// Adds listeners for plain TCP to the agent's own virtual IPs (<c>--vip-tcp</c>). istiod gives a TCP port of hosts without an address one listener,
/// <c>0.0.0.0_PORT</c>, which leads to the oldest of them only; this makes a copy of it per virtual IP, bound to that address and leading to that
/// host's cluster, and takes it back with its origin. One per Envoy stream, used by its reading loop. Field numbers: envoy.config.listener.v3, TcpProxy v3.
/// </summary>
internal sealed class VipListeners(Func<IReadOnlyList<VipService>> services)
{
    private const string ConnectionManager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    private const string TcpProxy = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    private const int Resources = 2, Removed = 6;                                // of both kinds of response; removed_resources of delta
    private const int Name = 1, Address = 2, FilterChains = 3, DefaultChain = 25; // Listener
    private const int Matcher = 32, MoreAddresses = 33;                          // Listener: filter_chain_matcher, additional_addresses

    private readonly Dictionary<string, string[]> _made = new(StringComparer.Ordinal); // by origin

    /// <summary>The response with the copies in it; null when it stays as it is.</summary>
    public byte[]? Add(XdsEnvelope response, ReadOnlySpan<byte> message)
    {
        bool delta = response.Kind == XdsMessageKind.DeltaResponse;
        IReadOnlyList<VipService> wanted = services();
        if (!delta) { _made.Clear(); } // a whole state replaces the last
        var added = new ProtoWriter();
        HashSet<string> now = new(StringComparer.Ordinal), gone = new(StringComparer.Ordinal);
        var fields = new ProtoReader(message);
        while (fields.Next())
        {
            if (fields.Is(Resources)) { Copy(fields.Bytes, delta, wanted, added, now, gone); }
            else if (delta && fields.Is(Removed) && _made.Remove(System.Text.Encoding.UTF8.GetString(fields.Bytes), out string[]? left)) { gone.UnionWith(left); }
        }
        gone.ExceptWith(now);
        if (fields.IsMalformed || (now.Count == 0 && gone.Count == 0)) { return null; }
        foreach (string name in gone) { added.String(Removed, name); }
        // after a reconnect istiod takes our copies for leftovers of its own; in both lists one message would be refused
        Rewritten kept = delta
            ? FieldRewriter.Walk(message, n => n != Removed ? null : name => now.Contains(System.Text.Encoding.UTF8.GetString(name)) ? Rewritten.Removed : Rewritten.Same)
            : Rewritten.Same;
        return new ProtoWriter().Append(kept.Kind == RewriteKind.Changed ? kept.Of(message) : message).Append(added.Written.Span).ToArray();
    }

    /// <summary>Copies of one resource (an Any; for delta a Resource around it), for each service on its port.</summary>
    private void Copy(ReadOnlySpan<byte> resource, bool delta, IReadOnlyList<VipService> wanted, ProtoWriter added, HashSet<string> now, HashSet<string> gone)
    {
        ReadOnlySpan<byte> any = delta ? ProtoField.Last(resource, 2) : resource, listener = ProtoField.Last(any, 2);
        string origin = ProtoField.Text(listener, Name);
        List<string> made = [];
        foreach (VipService service in wanted.Where(s => IsOf(origin, s.Port)))
        {
            if (CopyFor(listener, service) is not { } copy) { continue; }
            ProtoWriter body = new ProtoWriter().String(1, FilterHead.TypePrefix + "envoy.config.listener.v3.Listener").Bytes(2, copy);
            // Resource: version 1, resource 2, name 3
            added.Message(Resources, delta ? new ProtoWriter().String(1, ProtoField.Text(resource, 1)).Message(2, body).String(3, service.Listener) : body);
            made.Add(service.Listener);
        }
        if (_made.Remove(origin, out string[]? before)) { gone.UnionWith(before); }
        if (made.Count > 0) { _made[origin] = [.. made]; }
        now.UnionWith(made);
    }

    private static bool IsOf(string origin, ushort port) =>
        origin == string.Create(CultureInfo.InvariantCulture, $"0.0.0.0_{port}") || origin == string.Create(CultureInfo.InvariantCulture, $"::_{port}") || origin == string.Create(CultureInfo.InvariantCulture, $"[::]_{port}");

    /// <summary>The listener for one virtual IP; null where none is needed or can be made: HTTP goes by host name, TLS by server name.</summary>
    private static byte[]? CopyFor(ReadOnlySpan<byte> listener, VipService service)
    {
        int chosen = ChainFor(listener, service.Cluster);
        if (chosen < 0) { return null; }
        int at = 0;
        FieldRewriter.Visit chain = body => at++ == chosen ? FieldRewriter.Walk(body, n => n == 3 ? filter => Redirect(filter, service.Cluster) : null) : Rewritten.Removed;
        return FieldRewriter.Walk(listener, n => n switch
        {
            Name => _ => Text(service.Listener),
            Address => address => FieldRewriter.Walk(address, a => a == 1 ? socket => FieldRewriter.Walk(socket, s => s == 2 ? _ => Text(service.Address) : null) : null),
            FilterChains or DefaultChain => chain,
            MoreAddresses => _ => Rewritten.Removed,
            _ => null,
        }).Of(listener);
    }

    /// <summary>Which chain, counted through the listener, takes any TCP connection and leads elsewhere; -1: none, or the listener speaks HTTP.</summary>
    private static int ChainFor(ReadOnlySpan<byte> listener, string cluster)
    {
        if (ProtoField.Has(listener, Matcher)) { return -1; }
        int chosen = -1, at = 0;
        var fields = new ProtoReader(listener);
        while (fields.Next())
        {
            if (!fields.Is(FilterChains) && !fields.Is(DefaultChain)) { continue; }
            var chain = new ProtoReader(fields.Bytes);
            bool any = ProtoField.Last(fields.Bytes, 1).IsEmpty; // filter_chain_match
            while (chain.Next())
            {
                if (!chain.Is(3)) { continue; }
                FilterHead filter = FilterHead.Read(chain.Bytes, typedConfig: 4, discovery: 5);
                if (filter.Type == ConnectionManager) { return -1; }
                if (filter.Type != TcpProxy || !any || chosen >= 0) { continue; }
                string target = ProtoField.Text(ProtoField.Last(ProtoField.Last(chain.Bytes, 4), 2), 2);
                if (target == cluster) { return -1; } // the oldest: there already
                if (target.StartsWith("outbound|", StringComparison.Ordinal)) { chosen = at; }
            }
            at++;
        }
        return chosen;
    }

    // TcpProxy: stat_prefix 1, cluster 2
    private static Rewritten Redirect(ReadOnlySpan<byte> filter, string cluster) => FilterHead.Read(filter, typedConfig: 4, discovery: 5).Type != TcpProxy
        ? Rewritten.Same
        : FieldRewriter.Walk(filter, n => n != 4 ? null : any => FieldRewriter.Walk(any, v => v != 2 ? null : tcp => FieldRewriter.Walk(tcp, f => f is 1 or 2 ? _ => Text(cluster) : null)));

    private static Rewritten Text(string text) => Rewritten.Changed(System.Text.Encoding.UTF8.GetBytes(text));
}
