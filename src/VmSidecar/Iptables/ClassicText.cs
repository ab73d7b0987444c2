using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using VmSidecar.Configuration;

namespace VmSidecar.Iptables;

/// <summary>What the classic command prints instead of acting (<c>--dry-run</c>): its settings, then the input of iptables-restore in its spelling. Pure.</summary>
internal static class ClassicText
{
    private static readonly string[] s_environment =
    [
        "ENVOY_PORT", "INBOUND_CAPTURE_PORT", "ISTIO_INBOUND_INTERCEPTION_MODE", "ISTIO_INBOUND_TPROXY_MARK", "ISTIO_INBOUND_TPROXY_ROUTE_TABLE", "ISTIO_INBOUND_PORTS",
        "ISTIO_OUTBOUND_PORTS", "ISTIO_LOCAL_EXCLUDE_PORTS", "ISTIO_SERVICE_CIDR", "ISTIO_SERVICE_EXCLUDE_CIDR", "ISTIO_META_DNS_CAPTURE",
    ];

    /// <summary>Headings differ between 1.10 and current; the names of the values do not.</summary>
    public static string DryRun(CaptureOptions options, IReadOnlyDictionary<string, string> environment)
    {
        var text = new StringBuilder(options.Compat110 ? "Environment:\n------------\n" : "Istio iptables environment:\n");
        foreach (string name in s_environment) { text.Append(name).Append('=').Append(environment.GetValueOrDefault(name)).Append('\n'); }
        text.Append(options.Compat110 ? "\nVariables:\n----------\n" : "\nIstio config:\n").Append(Variables(options)).Append('\n');
        foreach (IpFamily family in new[] { IpFamily.V4, IpFamily.V6 })
        {
            string tool = family == IpFamily.V4 ? "iptables-restore" : "ip6tables-restore", input = Restore(IptablesProgram.For(options, family));
            if (input.Length == 0) { continue; }
            text.Append(options.Compat110 ? $"Writing following contents to rules file:  -\n{input}\n{tool} --noflush -\n" : $"Running iptables restore with: {tool} and the following input:\n{input}");
        }
        return text.ToString();
    }

    /// <summary><c>* table</c>, chains by <c>-N</c> in order of first use, rules; tables by name. Empty: no rules.</summary>
    public static string Restore(IptablesProgram program)
    {
        var text = new StringBuilder();
        foreach (string table in program.Tables.Order(StringComparer.Ordinal))
        {
            text.Append("* ").Append(table).Append('\n');
            foreach (string chain in program.ChainsOf(table)) { text.Append("-N ").Append(chain).Append('\n'); }
            var top = new Dictionary<string, int>();
            foreach (CaptureRule rule in program.Rules.Where(r => r.Table == table))
            {
                int position = rule.AtTop ? top[rule.Chain] = top.GetValueOrDefault(rule.Chain) + 1 : 0;
                text.Append(rule.AtTop ? $"-I {rule.Chain} {position} " : $"-A {rule.Chain} ").Append(RuleText.Spec(rule, program.Family)).Append('\n');
            }
            text.Append("COMMIT\n");
        }
        return text.ToString();
    }

    private static string Variables(CaptureOptions o) => string.Create(CultureInfo.InvariantCulture, $"""
        PROXY_PORT={o.ProxyPort}
        PROXY_INBOUND_CAPTURE_PORT={o.InboundPort}
        PROXY_TUNNEL_PORT={o.TunnelPort}
        PROXY_UID={List(o.ProxyUids)}
        PROXY_GID={List(o.ProxyGids)}
        INBOUND_INTERCEPTION_MODE={(o.Tproxy ? "TPROXY" : "REDIRECT")}
        INBOUND_TPROXY_MARK={o.TproxyMark}
        INBOUND_TPROXY_ROUTE_TABLE={o.TproxyTable}
        INBOUND_PORTS_INCLUDE={(o.AllInboundPorts ? "*" : List(o.InboundPorts))}
        INBOUND_PORTS_EXCLUDE={List(o.InboundExcludedPorts)}
        OUTBOUND_IP_RANGES_INCLUDE={(o.AllOutboundCidrs ? "*" : List(o.OutboundCidrs))}
        OUTBOUND_IP_RANGES_EXCLUDE={List(o.OutboundExcludedCidrs)}
        OUTBOUND_PORTS_INCLUDE={List(o.OutboundPorts)}
        OUTBOUND_PORTS_EXCLUDE={List(o.OutboundExcludedPorts)}
        KUBEVIRT_INTERFACES={List(o.KubeVirtInterfaces)}
        ENABLE_INBOUND_IPV6={(o.IPv6 ? "true" : "false")}
        DNS_CAPTURE={(o.RedirectDns ? "true" : "false")}
        DNS_SERVERS=[{Servers(o, AddressFamily.InterNetwork)}],[{Servers(o, AddressFamily.InterNetworkV6)}]

        """);

    private static string List<T>(IEnumerable<T> items) => string.Join(',', items);

    private static string Servers(CaptureOptions options, AddressFamily family) => string.Join(' ', options.DnsServers.Where((IPAddress s) => s.AddressFamily == family));
}
