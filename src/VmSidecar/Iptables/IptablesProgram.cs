using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using VmSidecar.Configuration;

namespace VmSidecar.Iptables;

/// <summary>
/// The rules one family gets for the given options: a pure function, shown, tested and compared before anything is loaded.
/// Order within a chain is the program's meaning; the four parts are written in the order a packet may meet them:
/// 1. inbound  2. outbound  3. names  4. TPROXY.
/// </summary>
internal sealed record IptablesProgram(IpFamily Family, ImmutableArray<CaptureRule> Rules)
{
    /// <summary>Every chain name that is ours or pilot-agent's, in any version.</summary>
    public static readonly ImmutableHashSet<string> KnownChains =
    [
        Chains.Inbound, Chains.Output, Chains.Redirect, Chains.InRedirect, Chains.OutputDns, Chains.Divert, Chains.Tproxy, Chains.Drop,
    ];

    public static IptablesProgram For(CaptureOptions options, IpFamily family)
    {
        if (family == IpFamily.V6 && !options.IPv6) { return new(family, []); }
        List<CaptureRule> rules =
        [
            .. TproxyRules.First(options, family),
            .. InboundRules.For(options, family),
            .. OutboundRules.For(options, family),
            .. DnsRules.For(options, family),
            .. TproxyRules.For(options, family),
        ];
        // Rules inserted one by one at the top stand in reverse order of insertion.
        return new(family, [.. rules.Where(r => r.AtTop).Reverse(), .. rules.Where(r => !r.AtTop)]);
    }

    /// <summary>Tables with rules, in the order they must go live: raw and mangle first, nat last, because nat is what sends packets elsewhere.</summary>
    public IEnumerable<string> Tables => Rules.Select(r => r.Table).Distinct().OrderBy(TableOrder);

    public static int TableOrder(string table) => table switch { "raw" => 0, "mangle" => 1, "nat" => 2, _ => 3 };

    /// <summary>Chains of ours in a table, in order of first use.</summary>
    public IEnumerable<string> ChainsOf(string table) => Rules
        .Where(r => r.Table == table)
        .SelectMany(r => r.Target is RuleTarget.Jump jump ? new[] { r.Chain, jump.Chain } : [r.Chain])
        .Where(KnownChains.Contains)
        .Distinct();

    internal static bool Fits(IPNetwork network, IpFamily family) => Fits(network.BaseAddress, family);

    internal static bool Fits(IPAddress address, IpFamily family) =>
        address.AddressFamily == (family == IpFamily.V4 ? AddressFamily.InterNetwork : AddressFamily.InterNetworkV6);

    internal static string Host(IPAddress address) => $"{address}/{(address.AddressFamily == AddressFamily.InterNetwork ? 32 : 128)}";

    internal static string Loopback(CaptureOptions options, IpFamily family) => family == IpFamily.V6 ? "::1/128"
        : options.Compat110 ? "127.0.0.1/32" : options.Loopback.ToString();

    /// <summary>What istiod and this agent assign to hosts without an address (reference 04 section 5.6): no machine has one.</summary>
    internal static string VirtualAddresses(IpFamily family) => family == IpFamily.V4 ? "240.240.0.0/15" : "2001:2::/48";

    /// <summary>The address Envoy's inbound clusters call the application from.</summary>
    internal static string Passthrough(IpFamily family) => family == IpFamily.V4 ? "127.0.0.6/32" : "::6/128";

    internal static class Chains
    {
        public const string Inbound = "ISTIO_INBOUND";
        public const string Output = "ISTIO_OUTPUT";
        public const string Redirect = "ISTIO_REDIRECT";
        public const string InRedirect = "ISTIO_IN_REDIRECT";
        public const string OutputDns = "ISTIO_OUTPUT_DNS";
        public const string Divert = "ISTIO_DIVERT";
        public const string Tproxy = "ISTIO_TPROXY";
        public const string Drop = "ISTIO_DROP";
    }
}
