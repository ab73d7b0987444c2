using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;

namespace VmSidecar.Configuration;

/// <summary>
/// Decides the node's IP list: the address given, then the one that routes to istiod, then every other global one. Link-local addresses are never
/// used: istiod would register a WorkloadEntry with an invalid name. Pure over <see cref="INetworkFacts"/>.
/// </summary>
internal static class NodeAddresses
{
    // Documentation addresses (RFC 5737, RFC 3849): they follow the default route where istiod's own address is not known without DNS.
    private static readonly IPAddress s_anywhere4 = IPAddress.Parse("192.0.2.1");
    private static readonly IPAddress s_anywhere6 = IPAddress.Parse("2001:db8::1");

    private static readonly TimeSpan s_rescan = TimeSpan.FromMilliseconds(250); // DHCP takes seconds

    /// <param name="given">ISTIO_SVC_IP or INSTANCE_IP; null: none.</param>
    /// <param name="istiod">istiod's address where it is a literal or in the hosts file; null: not known.</param>
    /// <param name="network">The host.</param>
    public static ImmutableArray<IPAddress> Select(IPAddress? given, IPAddress? istiod, INetworkFacts network)
    {
        var list = new List<IPAddress>();
        if (given is not null) { list.Add(Plain(given)); }
        IPAddress[] scanned = [.. network.InterfaceAddresses().Select(Plain).Where(IsGlobal)];
        IEnumerable<IPAddress?> peers = istiod is null ? [s_anywhere4, s_anywhere6] : [istiod, s_anywhere4, s_anywhere6];
        IPAddress? routed = peers.Select(peer => network.SourceFor(peer!)).OfType<IPAddress>().Select(Plain).FirstOrDefault(scanned.Contains);
        if (routed is not null) { list.Add(routed); }
        list.AddRange(scanned);
        return [.. list.Distinct()];
    }

    /// <summary>
    /// Waits for a usable address: at boot the agent may start before the network, and a node registered under 127.0.0.1 stays wrong. False: none came
    /// within <paramref name="atMost"/>.
    /// </summary>
    public static async Task<bool> WaitAsync(INetworkFacts network, TimeSpan atMost, TimeProvider time, CancellationToken stop)
    {
        long begin = time.GetTimestamp();
        while (Select(null, null, network).IsEmpty)
        {
            if (time.GetElapsedTime(begin) >= atMost) { return false; }
            await Task.Delay(s_rescan, time, stop);
        }
        return true;
    }

    /// <summary>The address of <paramref name="host"/> as a literal or from a hosts file, without asking DNS.</summary>
    public static IPAddress? Lookup(string host, string hostsFile)
    {
        if (IPAddress.TryParse(host, out IPAddress? literal)) { return literal; }
        foreach (string line in hostsFile.Split('\n'))
        {
            string[] words = line.Split('#')[0].Split((char[])[' ', '\t', '\r'], StringSplitOptions.RemoveEmptyEntries);
            if (words.Length > 1 && words.Skip(1).Contains(host, StringComparer.OrdinalIgnoreCase) && IPAddress.TryParse(words[0], out IPAddress? found)) { return found; }
        }
        return null;
    }

    private static IPAddress Plain(IPAddress address)
    {
        IPAddress plain = address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
        return plain.AddressFamily == AddressFamily.InterNetworkV6 && plain.ScopeId != 0 && !plain.IsIPv6LinkLocal ? new IPAddress(plain.GetAddressBytes()) : plain;
    }

    private static bool IsGlobal(IPAddress address)
    {
        if (IPAddress.IsLoopback(address) || address.Equals(IPAddress.Any) || address.Equals(IPAddress.IPv6Any) || address.IsIPv6LinkLocal || address.IsIPv6Multicast) { return false; }
        byte[] bytes = address.GetAddressBytes();
        return bytes.Length != 4 || !((bytes[0] == 169 && bytes[1] == 254) || bytes[0] >= 224); // RFC 3927 link-local, multicast and above
    }
}
