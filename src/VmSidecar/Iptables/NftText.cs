using System.Globalization;
using System.Text;

namespace VmSidecar.Iptables;

/// <summary>
/// Writes programs as one nftables transaction: the table of ours is made anew with everything in it, so a host has either the old rules or the new.
/// The table is one block that opens right after the removal of the old one: a text cut short (its writer was killed) is a syntax error, and nothing happens.
/// Chains are per family, entered by a test of the family, so that an IPv4 program never touches IPv6.
/// </summary>
internal static class NftText
{
    public const string Table = "inet vmsidecar";

    public static string Transaction(IEnumerable<IptablesProgram> programs)
    {
        var chains = new List<(string Name, string Hook, List<string> Rules)>();
        foreach (IptablesProgram program in programs)
        {
            foreach (CaptureRule rule in program.Rules)
            {
                Find(Chain(program.Family, rule.Table, rule.Chain), Hook(rule.Table, rule.Chain)).Add(Rule(program.Family, rule));
                if (rule.Target is RuleTarget.Jump jump) { Find(Chain(program.Family, rule.Table, jump.Chain), ""); }
                if (rule.Match.Owners.Any(o => o.Not)) { AddNotOwner(Find(NotOwner(program.Family, rule.Match), ""), rule.Match); }
            }
        }
        var text = new StringBuilder($"table {Table}\ndelete table {Table}\ntable {Table} {{\n");
        foreach ((string name, string hook, List<string> rules) in chains)
        {
            text.Append($"\tchain {name} {{\n{hook}");
            foreach (string rule in rules) { text.Append($"\t\t{rule}\n"); }
            text.Append("\t}\n");
        }
        return text.Append("}\n").ToString();

        List<string> Find(string name, string hook)
        {
            int at = chains.FindIndex(c => c.Name == name);
            if (at < 0) { at = chains.Count; chains.Add((name, hook, [])); }
            return chains[at].Rules;
        }
    }

    private static void AddNotOwner(List<string> chain, RuleMatch match)
    {
        if (chain.Count > 0) { return; }
        chain.AddRange(match.Owners.Select(o => $"meta {Key(o)} {o.Id.ToString(CultureInfo.InvariantCulture)} return"));
        chain.Add("accept");
    }

    /// <summary>Base chains stand one after the classic priority: after the rules of iptables, as our appended rules would. Names of built-in chains are shared by the families.</summary>
    private static string Hook(string table, string chain) => (table, chain) switch
    {
        ("nat", "PREROUTING") => "\t\ttype nat hook prerouting priority -99; policy accept;\n",
        ("nat", "OUTPUT") => "\t\ttype nat hook output priority -99; policy accept;\n",
        ("mangle", "PREROUTING") => "\t\ttype filter hook prerouting priority -149; policy accept;\n",
        ("mangle", "OUTPUT") => "\t\ttype route hook output priority -149; policy accept;\n",
        ("raw", "PREROUTING") => "\t\ttype filter hook prerouting priority -299; policy accept;\n",
        ("raw", "OUTPUT") => "\t\ttype filter hook output priority -299; policy accept;\n",
        _ => "",
    };

    private static string Chain(IpFamily family, string table, string chain) => Hook(table, chain).Length > 0
        ? $"{table}-{chain.ToLowerInvariant()}"
        : $"{table}{(family == IpFamily.V4 ? "4" : "6")}-{chain.Replace('_', '-').ToLowerInvariant()}";

    /// <summary>
    /// A packet without a socket has no owner: iptables' negated match holds for it, nftables' does not. So "anybody but" is a chain that lets those named
    /// return and accepts the rest; accept ends only our own base chain, which is what RETURN means there.
    /// </summary>
    private static string NotOwner(IpFamily family, RuleMatch match) =>
        $"nat{(family == IpFamily.V4 ? "4" : "6")}-not-{string.Join('-', match.Owners.Select(o => (o.IsGroup ? "g" : "u") + o.Id.ToString(CultureInfo.InvariantCulture)))}";

    private static string Rule(IpFamily family, CaptureRule rule)
    {
        var text = new StringBuilder();
        RuleMatch match = rule.Match;
        string ip = family == IpFamily.V4 ? "ip" : "ip6";
        if (Hook(rule.Table, rule.Chain).Length > 0) { text.Append($"meta nfproto {(family == IpFamily.V4 ? "ipv4" : "ipv6")} "); }
        if (match.Source is { } source) { text.Append($"{ip} saddr {Not(source.Not)}{source.Cidr} "); }
        if (match.Destination is { } destination) { text.Append($"{ip} daddr {Not(destination.Not)}{destination.Cidr} "); }
        if (match.InInterface is { } input) { text.Append($"iifname \"{input}\" "); }
        if (match.OutInterface is { } output) { text.Append($"oifname \"{output}\" "); }
        AppendProtocol(text, match);
        if (match.ToThisHost) { text.Append("fib daddr type local "); }
        if (match.ConntrackState is { } state) { text.Append($"ct state {state.ToLowerInvariant()} "); }
        if (match.Mark is { } mark) { text.Append($"meta mark {Not(mark.Not)}0x{mark.Mark:x} "); }
        if (match.ConnectionMark is { } connection) { text.Append($"ct mark 0x{connection:x} "); }
        foreach (OwnerMatch owner in match.Owners.Where(o => !o.Not)) { text.Append($"meta {Key(owner)} {owner.Id} "); }
        bool isNot = match.Owners.Any(o => o.Not);
        string target = isNot ? $"jump {NotOwner(family, match)}" : Target(family, rule);
        return text.Append($"{target} comment \"{RuleText.OwnerTag} {rule.Why}\"").ToString();
    }

    private static void AppendProtocol(StringBuilder text, RuleMatch match)
    {
        if (match.Protocol is not { } protocol) { return; }
        if (match.Ports is null && match.SourcePort is null && !match.NotSyn) { text.Append($"meta l4proto {protocol} "); }
        if (match.SourcePort is { } source) { text.Append($"{protocol} sport {Range(source)} "); }
        if (match.Ports is { } ports)
        {
            string set = string.Join(", ", ports.Ports.Select(Range));
            text.Append($"{protocol} dport {Not(ports.Not)}{(ports.Ports.Length > 1 ? $"{{ {set} }}" : set)} ");
        }
        if (match.NotSyn) { text.Append("tcp flags & (fin|syn|rst|ack) != syn "); }
    }

    private static string Target(IpFamily family, CaptureRule rule) => rule.Target switch
    {
        RuleTarget.Verdict verdict => verdict.Name.ToLowerInvariant(),
        RuleTarget.Jump jump => $"jump {Chain(family, rule.Table, jump.Chain)}",
        RuleTarget.Redirect redirect => $"redirect to :{redirect.Port}",
        RuleTarget.Tproxy tproxy => $"tproxy {(family == IpFamily.V4 ? "ip" : "ip6")} to :{tproxy.Port} meta mark set 0x{tproxy.Mark:x} accept",
        RuleTarget.SetMark mark => $"meta mark set 0x{mark.Mark:x}",
        RuleTarget.SaveMark => "ct mark set meta mark",
        RuleTarget.RestoreMark => "meta mark set ct mark",
        RuleTarget.Zone zone => $"ct zone set {zone.Number}",
        _ => throw new InvalidOperationException($"no text for {rule.Target}"),
    };

    private static string Key(OwnerMatch owner) => owner.IsGroup ? "skgid" : "skuid";

    private static string Range(string port) => port.Replace(':', '-');

    private static string Not(bool not) => not ? "!= " : "";
}
