using System.Net;
using VmSidecar.Configuration;
using static VmSidecar.Iptables.IptablesProgram;

namespace VmSidecar.Iptables;

/// <summary>
/// Name queries to the resolvers of resolv.conf, or to any: they go to the agent, whose own queries go out. Conntrack zones keep the
/// two apart, because both may use one source port towards one resolver. Third part of <see cref="IptablesProgram"/>.
/// </summary>
internal static class DnsRules
{
    private const int AgentZone = 1;       // agent and its resolver
    private const int ApplicationZone = 2; // application and agent

    /// <summary>The rules that stand inside ISTIO_OUTPUT, after the proxy's own traffic has returned.</summary>
    public static IEnumerable<CaptureRule> InOutput(CaptureOptions o, IpFamily family)
    {
        if (!IsOn(o, family)) { yield break; }
        if (o.Compat110)
        {
            foreach (CidrMatch? server in Servers(o, family))
            {
                yield return new("nat", Chains.Output, RuleMatch.Tcp with { Destination = server, Ports = PortMatch.Is("53") }, new RuleTarget.Redirect(o.DnsPort), "names over TCP to the agent");
            }
            yield break;
        }
        if (Servers(o, family).Length == 0) { yield break; }
        yield return new("nat", Chains.Output, RuleMatch.Any, new RuleTarget.Jump(Chains.OutputDns), "names");
        foreach (string protocol in new[] { "tcp", "udp" })
        {
            foreach (CidrMatch? server in Servers(o, family))
            {
                RuleMatch query = new() { Protocol = protocol, Destination = server, Ports = PortMatch.Is("53") };
                yield return new("nat", Chains.OutputDns, query, new RuleTarget.Redirect(o.DnsPort), $"names over {protocol.ToUpperInvariant()} to the agent");
            }
        }
    }

    /// <summary>The rules outside ISTIO_OUTPUT: 1.10's UDP part and the zones.</summary>
    public static IEnumerable<CaptureRule> For(CaptureOptions o, IpFamily family)
    {
        if (!IsOn(o, family)) { yield break; }
        if (o.Compat110)
        {
            foreach (OwnerMatch owner in Owners(o))
            {
                yield return new("nat", "OUTPUT", Query with { Owners = [owner] }, RuleTarget.Return, "the agent asks its resolver");
            }
            foreach (CidrMatch? server in Servers(o, family))
            {
                yield return new("nat", "OUTPUT", Query with { Destination = server }, new RuleTarget.Redirect(o.DnsPort), "names over UDP to the agent");
            }
        }
        if (!o.DnsZones) { yield break; }
        foreach (CaptureRule rule in Zones(o, family)) { yield return rule; }
    }

    private static IEnumerable<CaptureRule> Zones(CaptureOptions o, IpFamily family)
    {
        string chain = o.Compat110 ? "OUTPUT" : Chains.OutputDns;
        if (!o.Compat110) { yield return new("raw", "OUTPUT", RuleMatch.Any, new RuleTarget.Jump(Chains.OutputDns), "zones of name queries"); }
        foreach (OwnerMatch owner in Owners(o))
        {
            yield return new("raw", chain, Query with { Owners = [owner] }, new RuleTarget.Zone(AgentZone), "the agent asks its resolver");
            RuleMatch answer = RuleMatch.Udp with { SourcePort = o.DnsPort.ToString(System.Globalization.CultureInfo.InvariantCulture), Owners = [owner] };
            yield return new("raw", chain, answer, new RuleTarget.Zone(ApplicationZone), "the agent answers the application");
        }
        bool jumped = false;
        foreach (CidrMatch? server in Servers(o, family))
        {
            if (!o.Compat110 && !jumped) { yield return new("raw", "PREROUTING", RuleMatch.Any, new RuleTarget.Jump(Chains.Inbound), "zones of name answers"); }
            jumped = true;
            yield return new("raw", chain, Query with { Destination = server }, new RuleTarget.Zone(ApplicationZone), "the application asks");
            yield return new("raw", o.Compat110 ? "PREROUTING" : Chains.Inbound, RuleMatch.Udp with { Source = server, SourcePort = "53" }, new RuleTarget.Zone(AgentZone), "the resolver answers the agent");
        }
    }

    private static readonly RuleMatch Query = RuleMatch.Udp with { Ports = PortMatch.Is("53") };

    private static bool IsOn(CaptureOptions o, IpFamily family) => o.RedirectDns && !(o.Compat110 && family == IpFamily.V6);

    private static IEnumerable<OwnerMatch> Owners(CaptureOptions o) =>
        o.ProxyUids.Select(u => new OwnerMatch(false, u)).Concat(o.ProxyGids.Select(g => new OwnerMatch(true, g)));

    /// <summary>One null: every server.</summary>
    private static CidrMatch?[] Servers(CaptureOptions o, IpFamily family)
    {
        if (o.CaptureAllDns && !o.Compat110) { return [null]; }
        IEnumerable<IPAddress> servers = o.DnsServers.Where(s => Fits(s, family));
        return [.. (o.Safety ? servers.Distinct() : servers).Select(s => new CidrMatch(Host(s)))];
    }
}
