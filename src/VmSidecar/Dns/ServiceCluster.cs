namespace VmSidecar.Dns;

/// <summary>Tells which clusters speak of a host that may get a virtual IP (reference 04 §5.6). Pure.</summary>
internal static class ServiceCluster
{
    // envoy.config.cluster.v3.Cluster.DiscoveryType
    private const int StrictDns = 1, LogicalDns = 2, Eds = 3;

    /// <summary>
    /// The host of <c>outbound|port|subset|host</c>, in lower case, if a virtual IP for it can work: not ORIGINAL_DST (the virtual IP would become
    /// the upstream's address), no wildcard, no address, not a static or inbound cluster. Null otherwise.
    /// </summary>
    public static string? HostOf(string name, int discoveryType)
    {
        if (discoveryType is not (StrictDns or LogicalDns or Eds)) { return null; }
        string[] parts = name.Split('|');
        if (parts.Length != 4 || parts[0] != "outbound") { return null; }
        string host = parts[3].TrimEnd('.').ToLowerInvariant();
        bool isName = host.Contains('.') && !host.Contains('*') && !System.Net.IPAddress.TryParse(host, out _);
        return isName ? host : null;
    }
}
