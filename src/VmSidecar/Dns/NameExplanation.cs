using System.Net;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>Says in one line how a snapshot treats a question: the rule and the host, or that it goes upstream. Pure; the words of <c>vmsidecar dns</c>.</summary>
internal static class NameExplanation
{
    public static string For(DnsSnapshot snapshot, byte[] name, ushort type)
    {
        Span<byte> scratch = stackalloc byte[NameTable.ScratchSize];
        if (type == DnsType.SRV && ServiceQuestion.TryRead(name, out _, out ReadOnlySpan<byte> owner) && snapshot.Names.Find(owner, snapshot.Search, scratch, out NameMatch service))
        {
            return $"a service of {WireName.ToText(service.Host.Name)}: answered where a cluster of that host has the port that IANA gives the name, or it is a Kubernetes service with one port; else asked upstream";
        }
        if (snapshot.Names.Find(name, snapshot.Search, scratch, out NameMatch match)) { return Known(match, type); }
        if (snapshot.Vips.Find(name, snapshot.Search, scratch, out match))
        {
            string when = snapshot.VipsOnlyWhereUnknown ? "given only where upstream says that the name does not exist" : "given always";
            return $"own virtual IP {Addresses(match.Host)} of {WireName.ToText(match.Host.Name)}, {when}: istiod knows the host but gave it no address";
        }
        if (type == DnsType.PTR && MeshAddress.TryParseReverse(name, out UInt128 address) && (snapshot.Names.TryFindAddress(address, out NamedHost host) || snapshot.Vips.TryFindAddress(address, out host)))
        {
            return $"the address of {WireName.ToText(host.Name)} in the name table";
        }
        return "not in the name table: goes upstream";
    }

    /// <summary>The names a resolver tries for what a user typed, in order (resolv.conf(5), <c>ndots:1</c>).</summary>
    public static IReadOnlyList<byte[]> Candidates(string typed, byte[][] search)
    {
        if (WireName.Encode(typed) is not { } name) { return []; }
        if (typed.EndsWith('.')) { return [name]; }
        List<byte[]> below = [];
        foreach (byte[] domain in search)
        {
            byte[] joined = new byte[WireName.MaxLength];
            if (WireName.TryJoin(name, domain, joined, out int length)) { below.Add(joined[..length]); }
        }
        return WireName.CountLabels(name) > 1 ? [name, .. below] : [.. below, name];
    }

    private static string Known(NameMatch match, ushort type)
    {
        string host = WireName.ToText(match.Host.Name);
        string rule = match.Rule switch
        {
            MatchRule.Exact => $"host {host}",
            MatchRule.ShortName => $"short name of {host}",
            MatchRule.SearchDomain => $"{WireName.ToText(match.Alias)} below a search domain, which is host {host}",
            _ => $"covered by the wildcard {host}",
        };
        string source = match.Host.Source == HostSource.Kubernetes ? "Kubernetes service" : "ServiceEntry";
        bool empty = type switch
        {
            DnsType.A => match.Host.V4.Length == 0,
            DnsType.AAAA => match.Host.V6.Length == 0,
            _ => true,
        };
        string note = !empty ? "" : type is DnsType.A or DnsType.AAAA ? "; it has no address of this family: an empty answer" : match.Host.Source == HostSource.Kubernetes || type is DnsType.HTTPS or DnsType.SVCB
            ? "; it has only addresses: an empty answer" : "; other types are asked upstream, and are empty where upstream has none";
        return $"{rule} ({source}, {Addresses(match.Host)}){note}";
    }

    private static string Addresses(NamedHost host)
    {
        const int Shown = 4;
        List<string> all = [];
        for (int i = 0; i < host.V4.Length; i += 4) { all.Add(new IPAddress(host.V4.Slice(i, 4)).ToString()); }
        for (int i = 0; i < host.V6.Length; i += 16) { all.Add(new IPAddress(host.V6.Slice(i, 16)).ToString()); }
        return string.Join(" ", all.Take(Shown)) + (all.Count > Shown ? $" and {all.Count - Shown} more" : "");
    }
}
