using VmSidecar.Configuration;
using static VmSidecar.Iptables.IptablesProgram;

namespace VmSidecar.Iptables;

/// <summary>Traffic that arrives: which of it goes to Envoy's inbound listener. First part of <see cref="IptablesProgram"/>.</summary>
internal static class InboundRules
{
    public static IEnumerable<CaptureRule> For(CaptureOptions o, IpFamily family)
    {
        bool tproxy = UsesTproxy(o, family);
        string table = tproxy ? "mangle" : "nat";
        foreach (CaptureRule rule in Interfaces(o)) { yield return rule; }
        if (o.DropInvalid)
        {
            yield return new("mangle", "PREROUTING", new() { ConntrackState = "INVALID" }, new RuleTarget.Jump(Chains.Drop), "packets conntrack cannot place would reset good connections");
            yield return new("mangle", Chains.Drop, RuleMatch.Any, RuleTarget.Drop, "drop them");
        }
        foreach (string nic in o.KubeVirtInterfaces)
        {
            yield return new("nat", "PREROUTING", new() { InInterface = nic }, RuleTarget.Return, "guests of this interface are not inbound", AtTop: true);
        }
        foreach (CaptureRule rule in Guards(o, table)) { yield return rule; }
        yield return new("nat", Chains.Inbound, Tcp(o.TunnelPort), RuleTarget.Return, "the tunnel port has its own listener");
        yield return new("nat", Chains.Redirect, RuleMatch.Tcp, new RuleTarget.Redirect(o.ProxyPort), "to Envoy outbound");
        yield return new("nat", Chains.InRedirect, RuleMatch.Tcp, new RuleTarget.Redirect(o.InboundPort), "to Envoy inbound");
        if (!o.AllInboundPorts && o.InboundPorts.IsEmpty) { yield break; }
        // Only what is addressed to this host: without the test, egress of containers and guests lands in the inbound listener.
        yield return new(table, "PREROUTING", RuleMatch.Tcp with { ToThisHost = o.Safety }, new RuleTarget.Jump(Chains.Inbound), "what arrives for this host");
        foreach (CaptureRule rule in o.AllInboundPorts ? AllPorts(o, table, tproxy) : ListedPorts(o, tproxy)) { yield return rule; }
    }

    /// <summary>1.10 gives IPv6 plain redirection even in TPROXY mode.</summary>
    public static bool UsesTproxy(CaptureOptions o, IpFamily family) => o.Tproxy && !(o.Compat110 && family == IpFamily.V6);

    private static IEnumerable<CaptureRule> Interfaces(CaptureOptions o)
    {
        IEnumerable<string> nics = o.Compat110 ? [] : o.ExcludedInterfaces;
        if (!o.Safety)
        {
            foreach (string table in o.Tproxy ? new[] { "nat", "mangle" } : ["nat"])
            {
                foreach (string nic in nics)
                {
                    yield return new(table, "PREROUTING", new() { InInterface = nic }, RuleTarget.Return, "interface excluded");
                    yield return new(table, "OUTPUT", new() { OutInterface = nic }, RuleTarget.Return, "interface excluded");
                }
            }
            yield break;
        }
        // In our chains, so that rules others append later to the built-in chains still see these packets.
        foreach ((string nic, string why) in nics.Select(n => (n, "interface excluded")).Concat(o.ContainerBridges.Except(nics).Select(n => (n, "containers are left alone"))))
        {
            yield return new("nat", Chains.Inbound, new() { InInterface = nic }, RuleTarget.Return, why);
            if (o.Tproxy) { yield return new("mangle", Chains.Inbound, new() { InInterface = nic }, RuleTarget.Return, why); }
            yield return new("nat", Chains.Output, new() { OutInterface = nic }, RuleTarget.Return, why);
        }
    }

    private static IEnumerable<CaptureRule> Guards(CaptureOptions o, string table)
    {
        if (!o.Safety || table != "nat") { yield break; }
        // Conntrack that only starts with these rules takes the next packet of an open connection for a new one (loose pick-up);
        // redirected, it would be reset. ssh sessions of the operator are among them.
        yield return new("nat", Chains.Inbound, new() { Protocol = "tcp", NotSyn = true }, RuleTarget.Return, "open connections go on");
    }

    private static IEnumerable<CaptureRule> AllPorts(CaptureOptions o, string table, bool tproxy)
    {
        IEnumerable<string> never = o.Safety ? o.NeverInboundPorts : o.Compat110 ? ["22"] : [];
        foreach (string port in never)
        {
            yield return new(table, Chains.Inbound, Tcp(port), RuleTarget.Return, "ssh is never captured");
        }
        // Without safety each line stands as pilot-agent writes it, duplicates included.
        IEnumerable<string> excluded = o.Safety ? o.InboundExcludedPorts.Except(never) : o.InboundExcludedPorts;
        foreach (string port in excluded)
        {
            yield return new(table, Chains.Inbound, Tcp(port), RuleTarget.Return, "inbound port excluded");
        }
        if (!tproxy)
        {
            yield return new("nat", Chains.Inbound, RuleMatch.Tcp, new RuleTarget.Jump(Chains.InRedirect), "every other port");
            yield break;
        }
        yield return new("mangle", Chains.Inbound, RuleMatch.Tcp with { ConntrackState = "RELATED,ESTABLISHED" }, new RuleTarget.Jump(Chains.Divert), "open connections stay with their socket");
        yield return new("mangle", Chains.Inbound, RuleMatch.Tcp, new RuleTarget.Jump(Chains.Tproxy), "every other port");
    }

    private static IEnumerable<CaptureRule> ListedPorts(CaptureOptions o, bool tproxy)
    {
        foreach (string port in o.Safety ? o.InboundPorts.Distinct() : o.InboundPorts)
        {
            if (!tproxy)
            {
                yield return new("nat", Chains.Inbound, Tcp(port), new RuleTarget.Jump(Chains.InRedirect), "inbound port");
                continue;
            }
            yield return new("mangle", Chains.Inbound, Tcp(port) with { ConntrackState = "RELATED,ESTABLISHED" }, new RuleTarget.Jump(Chains.Divert), "open connections stay with their socket");
            yield return new("mangle", Chains.Inbound, Tcp(port), new RuleTarget.Jump(Chains.Tproxy), "inbound port");
        }
    }

    internal static RuleMatch Tcp(string port) => RuleMatch.Tcp with { Ports = PortMatch.Is(port) };

    internal static RuleMatch Tcp(ushort port) => Tcp(port.ToString(System.Globalization.CultureInfo.InvariantCulture));
}
