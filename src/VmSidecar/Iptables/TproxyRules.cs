using VmSidecar.Configuration;
using static VmSidecar.Iptables.IptablesProgram;

namespace VmSidecar.Iptables;

/// <summary>The marks of TPROXY: which packets are Envoy's own, and how answers to a borrowed source address find their way back. Fourth part of <see cref="IptablesProgram"/>; routes are <see cref="PolicyRouting"/>.</summary>
internal static class TproxyRules
{
    public static IEnumerable<CaptureRule> For(CaptureOptions o, IpFamily family)
    {
        if (!InboundRules.UsesTproxy(o, family)) { yield break; }
        uint mark = o.TproxyMark, selfMark = o.TproxyMark + 1;
        CidrMatch notLoopback = new(Loopback(o, family), Not: true);
        if (o.AllInboundPorts || !o.InboundPorts.IsEmpty)
        {
            yield return new("mangle", Chains.Divert, RuleMatch.Any, new RuleTarget.SetMark(mark), "route to this host");
            yield return new("mangle", Chains.Divert, RuleMatch.Any, RuleTarget.Accept, "done");
            yield return new("mangle", Chains.Tproxy, RuleMatch.Tcp with { Destination = notLoopback }, new RuleTarget.Tproxy(o.InboundPort, mark), "to Envoy inbound, addresses kept");
        }
        yield return new("mangle", "PREROUTING", RuleMatch.Tcp with { Mark = new(mark) }, new RuleTarget.SaveMark(), "a connection of Envoy");
        if (!o.Compat110)
        {
            yield return new("mangle", "OUTPUT", RuleMatch.Tcp with { OutInterface = "lo", Mark = new(mark) }, RuleTarget.Return, "Envoy inbound to the application");
            foreach (OwnerMatch owner in o.ProxyUids.Select(u => new OwnerMatch(false, u)).Concat(o.ProxyGids.Select(g => new OwnerMatch(true, g))))
            {
                yield return new("mangle", "OUTPUT", RuleMatch.Tcp with { OutInterface = "lo", Destination = notLoopback, Owners = [owner] }, new RuleTarget.SetMark(selfMark), "Envoy calls this host itself");
            }
        }
        yield return new("mangle", "OUTPUT", RuleMatch.Tcp with { ConnectionMark = mark }, new RuleTarget.RestoreMark(), "answers go back to Envoy");
    }

    /// <summary>What must stand before every other inbound rule: packets that have been through Envoy, and local ones.</summary>
    public static IEnumerable<CaptureRule> First(CaptureOptions o, IpFamily family)
    {
        if (!InboundRules.UsesTproxy(o, family)) { yield break; }
        yield return new("mangle", Chains.Inbound, RuleMatch.Tcp with { Mark = new(o.TproxyMark) }, RuleTarget.Return, "Envoy inbound to the application");
        if (o.Compat110) { yield break; }
        yield return new("mangle", Chains.Inbound, RuleMatch.Tcp with { Source = new(Passthrough(family)), InInterface = "lo" }, RuleTarget.Return, "Envoy inbound to the application");
        yield return new("mangle", Chains.Inbound, RuleMatch.Tcp with { InInterface = "lo", Mark = new(o.TproxyMark + 1, Not: true) }, RuleTarget.Return, "local calls stay direct");
    }
}
