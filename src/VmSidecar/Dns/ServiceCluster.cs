using System.Globalization;
using System.Net;

namespace VmSidecar.Dns;

/// <summary>What an outbound cluster says of a service: its host, a port, and whether a virtual IP for the host can work.</summary>
/// <param name="Host">In lower case, without the dot at its end; may be a wildcard.</param>
/// <param name="Port">The service's port.</param>
/// <param name="Suits">A virtual IP can work (reference 04 §5.6): Envoy finds the endpoints itself. With ORIGINAL_DST the virtual IP would become the upstream's address.</param>
internal readonly record struct ServiceCluster(string Host, ushort Port, bool Suits)
{
    // envoy.config.cluster.v3.Cluster.DiscoveryType
    private const int StrictDns = 1, LogicalDns = 2, Eds = 3;

    /// <summary>Reads <c>outbound|port|subset|host</c>; null for static, inbound and DNS-SRV style (<c>outbound_.</c>) clusters. Pure.</summary>
    public static ServiceCluster? Read(string name, int discoveryType)
    {
        string[] parts = name.Split('|');
        if (parts.Length != 4 || parts[0] != "outbound" || !ushort.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out ushort port)) { return null; }
        string host = parts[3].TrimEnd('.').ToLowerInvariant();
        return new(host, port, IsFound(discoveryType) && IsName(host));
    }

    /// <summary>With this discovery type Envoy finds the endpoints itself. Pure.</summary>
    public static bool IsFound(int discoveryType) => discoveryType is StrictDns or LogicalDns or Eds;

    /// <summary>The host of a route's virtual host, named <c>host:port</c>; null for what names no service (<c>allow_any</c>, wildcards, addresses). Pure.</summary>
    public static string? HostOfRoute(string virtualHost)
    {
        int colon = virtualHost.LastIndexOf(':');
        if (colon <= 0 || !ushort.TryParse(virtualHost.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out _)) { return null; }
        string host = virtualHost[..colon].TrimEnd('.').ToLowerInvariant();
        return IsName(host) && !host.Contains('|', StringComparison.Ordinal) ? host : null;
    }

    private static bool IsName(string host) => host.Contains('.', StringComparison.Ordinal) && !host.Contains('*', StringComparison.Ordinal) && !IPAddress.TryParse(host, out _);
}
