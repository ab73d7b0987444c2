using System.Globalization;
using System.Net;
using VmSidecar.Configuration;
using static VmSidecar.Iptables.InboundRules;
using static VmSidecar.Iptables.IptablesProgram;

namespace VmSidecar.Iptables;

/// <summary>Traffic of this host's own programs: who and what goes to Envoy's outbound listener. Second part of <see cref="IptablesProgram"/>.</summary>
internal static class OutboundRules
{
    public static IEnumerable<CaptureRule> For(CaptureOptions o, IpFamily family)
    {
        yield return new("nat", "OUTPUT", o.Compat110 ? RuleMatch.Tcp : RuleMatch.Any, new RuleTarget.Jump(Chains.Output), "what leaves this host");
        if (o.Safety)
        {
            yield return new("nat", Chains.Output, new() { Protocol = "tcp", NotSyn = true }, RuleTarget.Return, "open connections go on");
        }
        foreach (string port in o.Safety ? o.OutboundExcludedPorts.Distinct() : o.OutboundExcludedPorts)
        {
            yield return new("nat", Chains.Output, Tcp(port), RuleTarget.Return, "outbound port excluded");
            if (!o.Compat110) { yield return new("nat", Chains.Output, RuleMatch.Udp with { Ports = PortMatch.Is(port) }, RuleTarget.Return, "outbound port excluded"); }
        }
        yield return new("nat", Chains.Output, new() { Source = new(Passthrough(family)), OutInterface = "lo" }, RuleTarget.Return, "Envoy inbound to the application");
        foreach (CaptureRule rule in Owners(o, family)) { yield return rule; }
        foreach (CaptureRule rule in OwnerGroups(o)) { yield return rule; }
        foreach (CaptureRule rule in DnsRules.InOutput(o, family)) { yield return rule; }
        if (o.Safety && !(o.RedirectDns && o.CaptureAllDns && !o.Compat110) && !o.OutboundPorts.Any(IncludesDns))
        {
            // Names over TCP go where names over UDP go. Captured, the queries of a resolver on this host (dnsmasq, unbound, systemd-resolved) to its own
            // servers would hang on Envoy, and with them the names of the whole host. Virtual addresses exist nowhere but behind Envoy.
            yield return new("nat", Chains.Output, Tcp("53") with { Destination = new(VirtualAddresses(family), Not: true) }, RuleTarget.Return, "names of others are never captured");
        }
        yield return new("nat", Chains.Output, new() { Destination = new(Loopback(o, family)) }, RuleTarget.Return, "loopback stays direct");
        foreach (CaptureRule rule in Destinations(o, family)) { yield return rule; }
    }

    private static IEnumerable<CaptureRule> Owners(CaptureOptions o, IpFamily family)
    {
        foreach (OwnerMatch owner in o.ProxyUids.Select(u => new OwnerMatch(false, u)).Concat(o.ProxyGids.Select(g => new OwnerMatch(true, g))))
        {
            RuleMatch toSelf = SelfCall(o, family, owner) with { OutInterface = "lo", Destination = new(Loopback(o, family), Not: true), Owners = [owner] };
            yield return new("nat", Chains.Output, toSelf, new RuleTarget.Jump(Chains.InRedirect), "Envoy calls this host itself: through inbound");
            if (!CapturesLoopback(o, family))
            {
                RuleMatch local = DnsForm(o, family) ? RuleMatch.Tcp with { Ports = PortMatch.IsNot("53") } : RuleMatch.Any;
                yield return new("nat", Chains.Output, local with { OutInterface = "lo", Owners = [owner with { Not = true }] }, RuleTarget.Return, "local calls stay direct");
            }
            yield return new("nat", Chains.Output, new() { Owners = [owner] }, RuleTarget.Return, "the proxy itself is never captured");
        }
    }

    /// <summary>The proxy's calls to this host's own address; name queries and the tunnel are not among them.</summary>
    private static RuleMatch SelfCall(CaptureOptions o, IpFamily family, OwnerMatch owner)
    {
        string tunnel = o.TunnelPort.ToString(CultureInfo.InvariantCulture);
        // Safety: a group member's query to a local resolver is no call for the inbound listener either.
        bool exceptDns = DnsForm(o, family) && (!owner.IsGroup || o.Safety);
        return (exceptDns, o.Compat110) switch
        {
            (true, true) => RuleMatch.Tcp with { Ports = PortMatch.IsNot("53") },
            (false, true) => RuleMatch.Any,
            (true, false) => RuleMatch.Tcp with { Ports = PortMatch.IsNot("53", tunnel) },
            (false, false) => RuleMatch.Tcp with { Ports = PortMatch.IsNot(tunnel) },
        };
    }

    /// <summary>1.10 writes IPv6 rules as if there were no DNS capture.</summary>
    private static bool DnsForm(CaptureOptions o, IpFamily family) => o.RedirectDns && !(o.Compat110 && family == IpFamily.V6);

    private static bool CapturesLoopback(CaptureOptions o, IpFamily family) =>
        !(o.Compat110 && family == IpFamily.V6) && o.OutboundCidrs.Any(c => Fits(c, family) && IPAddress.IsLoopback(c.BaseAddress));

    /// <summary>Asked for by name, as a port or within a range <c>low:high</c>.</summary>
    private static bool IncludesDns(string ports)
    {
        int[] ends = [.. ports.Split(':').Select(p => int.Parse(p, CultureInfo.InvariantCulture))];
        return ends[0] <= 53 && ends[^1] >= 53;
    }

    private static IEnumerable<CaptureRule> OwnerGroups(CaptureOptions o)
    {
        if (o.Compat110) { yield break; }
        if (o.OwnerGroups is { } only)
        {
            yield return new("nat", Chains.Output, new() { Owners = [.. only.Select(g => new OwnerMatch(true, g, Not: true))] }, RuleTarget.Return, "only these groups are captured");
            yield break;
        }
        foreach (uint group in o.ExcludedOwnerGroups)
        {
            yield return new("nat", Chains.Output, new() { Owners = [new(true, group)] }, RuleTarget.Return, "group excluded");
        }
    }

    private static IEnumerable<CaptureRule> Destinations(CaptureOptions o, IpFamily family)
    {
        foreach (IPNetwork never in o.Safety ? o.NeverOutbound.Where(n => Fits(n, family) && !o.OutboundCidrs.Contains(n)) : [])
        {
            yield return new("nat", Chains.Output, new() { Destination = new(never.ToString()) }, RuleTarget.Return, "cloud metadata is never captured");
        }
        foreach (IPNetwork cidr in o.OutboundExcludedCidrs.Where(c => Fits(c, family)))
        {
            yield return new("nat", Chains.Output, new() { Destination = new(cidr.ToString()) }, RuleTarget.Return, "destination excluded");
        }
        foreach (string port in o.OutboundPorts)
        {
            yield return new("nat", Chains.Output, Tcp(port), new RuleTarget.Jump(Chains.Redirect), "outbound port");
        }
        CidrMatch?[] wanted = o.AllOutboundCidrs ? [null] : [.. o.OutboundCidrs.Where(c => Fits(c, family)).Select(c => new CidrMatch(c.ToString()))];
        foreach (CidrMatch? cidr in wanted)
        {
            foreach (string nic in o.KubeVirtInterfaces)
            {
                yield return new("nat", "PREROUTING", new() { InInterface = nic, Destination = cidr }, new RuleTarget.Jump(Chains.Redirect), "guests of this interface are outbound", AtTop: true);
            }
            yield return new("nat", Chains.Output, new() { Destination = cidr }, new RuleTarget.Jump(Chains.Redirect), cidr is null ? "every other destination" : "destination");
        }
        if (o.Compat110 && !o.AllOutboundCidrs && wanted.Length > 0)
        {
            yield return new("nat", Chains.Output, RuleMatch.Any, RuleTarget.Return, "nothing else");
        }
    }
}
