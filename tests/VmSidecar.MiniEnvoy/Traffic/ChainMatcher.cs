using System.Net;

using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Listeners;
using VmSidecar.MiniEnvoy.Resources;

namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>
/// Envoy's choice of a filter chain: criterion by criterion (port, address, server name, transport, protocol) the most specific
/// group stays, and there is no way back: a port that has chains of its own never falls to a chain without a port. Pure.
/// </summary>
internal static class ChainMatcher
{
    public static ChainEntry? Find(ListenerEntry listener, IPEndPoint destination, Inspection seen)
    {
        IReadOnlyList<ChainEntry> left = listener.Chains;
        left = Narrow(left, m => m.DestinationPort == (uint)destination.Port, m => m.DestinationPort is null);
        left = ByPrefix(left, destination.Address);
        left = ByServerName(left, seen.ServerName);
        left = Narrow(left, m => m.TransportProtocol == seen.Transport, m => m.TransportProtocol.Length == 0);
        left = ByProtocol(left, seen.Protocols);
        return left.Count > 0 ? left[0] : listener.Default;
    }

    private static List<ChainEntry> Narrow(IReadOnlyList<ChainEntry> chains, Func<FilterChainMatch, bool> exact, Func<FilterChainMatch, bool> any)
    {
        List<ChainEntry> matching = [.. chains.Where(c => exact(c.Match))];
        return matching.Count > 0 ? matching : [.. chains.Where(c => any(c.Match))];
    }

    private static List<ChainEntry> ByPrefix(IReadOnlyList<ChainEntry> chains, IPAddress address)
    {
        int longest = chains.SelectMany(c => c.Match.PrefixRanges).Select(r => Length(r, address)).DefaultIfEmpty(-1).Max();
        return longest < 0 ? [.. chains.Where(c => c.Match.PrefixRanges.Count == 0)] : [.. chains.Where(c => c.Match.PrefixRanges.Any(r => Length(r, address) == longest))];
    }

    /// <summary>The length of a range that holds the address, -1 when it does not.</summary>
    private static int Length(CidrRange range, IPAddress address)
    {
        int length = (int)(range.PrefixLen ?? 0);
        if (!IPAddress.TryParse(range.AddressPrefix, out IPAddress? prefix) || prefix.AddressFamily != address.AddressFamily) { return -1; }
        byte[] left = prefix.GetAddressBytes(), right = address.GetAddressBytes();
        for (int bit = 0; bit < Math.Min(length, left.Length * 8); bit++)
        {
            if (((left[bit / 8] ^ right[bit / 8]) & (0x80 >> (bit % 8))) != 0) { return -1; }
        }
        return length;
    }

    private static List<ChainEntry> ByServerName(IReadOnlyList<ChainEntry> chains, string name)
    {
        for (string wanted = name; wanted.Length > 0;)
        {
            List<ChainEntry> found = [.. chains.Where(c => c.Match.ServerNames.Contains(wanted))];
            if (found.Count > 0) { return found; }
            int dot = wanted.IndexOf('.', wanted.StartsWith("*.", StringComparison.Ordinal) ? 2 : 0);
            wanted = dot < 0 ? "" : "*" + wanted[dot..]; // a.b.c, *.b.c, *.c
        }
        return [.. chains.Where(c => c.Match.ServerNames.Count == 0)];
    }

    private static IReadOnlyList<ChainEntry> ByProtocol(IReadOnlyList<ChainEntry> chains, IEnumerable<string> offered)
    {
        foreach (string protocol in offered)
        {
            List<ChainEntry> found = [.. chains.Where(c => c.Match.ApplicationProtocols.Contains(protocol))];
            if (found.Count > 0) { return found; }
        }
        return [.. chains.Where(c => c.Match.ApplicationProtocols.Count == 0)];
    }
}
