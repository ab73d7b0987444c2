using System.Text;

namespace VmSidecar.Iptables;

/// <summary>
/// Writes a rule exactly as <c>iptables-save</c> prints it. One spelling for what we load and what we read back makes the
/// comparison of plan and kernel a comparison of text.
/// </summary>
internal static class RuleText
{
    /// <summary>Every rule of ours carries a comment that begins with this.</summary>
    public const string OwnerTag = "vmsidecar:";

    /// <summary>The rule without <c>-A CHAIN</c>.</summary>
    public static string Spec(CaptureRule rule, IpFamily family)
    {
        var text = new StringBuilder();
        RuleMatch match = rule.Match;
        AddCidr(text, "-s", match.Source);
        AddCidr(text, "-d", match.Destination);
        AddOption(text, "-i", match.InInterface);
        AddOption(text, "-o", match.OutInterface);
        AddOption(text, "-p", match.Protocol);
        AddPorts(text, match);
        if (match.ToThisHost) { text.Append("-m addrtype --dst-type LOCAL "); }
        if (match.ConntrackState is { } state) { text.Append($"-m conntrack --ctstate {state} "); }
        if (match.Mark is { } mark) { text.Append($"-m mark {Not(mark.Not)}--mark 0x{mark.Mark:x} "); }
        if (match.ConnectionMark is { } connection) { text.Append($"-m connmark --mark 0x{connection:x} "); }
        foreach (OwnerMatch owner in match.Owners) { text.Append($"-m owner {Not(owner.Not)}--{(owner.IsGroup ? "gid" : "uid")}-owner {owner.Id} "); }
        text.Append($"-m comment --comment \"{OwnerTag} {rule.Why}\" ");
        return text.Append("-j ").Append(Target(rule.Target, family)).ToString();
    }

    private static void AddPorts(StringBuilder text, RuleMatch match)
    {
        if (match.Ports is { Ports.Length: > 1 } several)
        {
            text.Append($"-m multiport {Not(several.Not)}--dports {string.Join(',', several.Ports)} ");
            return;
        }
        if (match.SourcePort is null && match.Ports is null && !match.NotSyn) { return; }
        text.Append($"-m {match.Protocol} ");
        AddOption(text, "--sport", match.SourcePort);
        if (match.Ports is { } one) { text.Append($"{Not(one.Not)}--dport {one.Ports[0]} "); }
        if (match.NotSyn) { text.Append("! --tcp-flags FIN,SYN,RST,ACK SYN "); }
    }

    private static string Target(RuleTarget target, IpFamily family) => target switch
    {
        RuleTarget.Verdict verdict => verdict.Name,
        RuleTarget.Jump jump => jump.Chain,
        RuleTarget.Redirect redirect => $"REDIRECT --to-ports {redirect.Port}",
        RuleTarget.Tproxy tproxy =>
            $"TPROXY --on-port {tproxy.Port} --on-ip {(family == IpFamily.V4 ? "0.0.0.0" : "::")} --tproxy-mark 0x{tproxy.Mark:x}/0xffffffff",
        RuleTarget.SetMark mark => $"MARK --set-xmark 0x{mark.Mark:x}/0xffffffff",
        RuleTarget.SaveMark => "CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
        RuleTarget.RestoreMark => "CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
        RuleTarget.Zone zone => $"CT --zone {zone.Number}",
        _ => throw new InvalidOperationException($"no text for {target}"),
    };

    private static void AddCidr(StringBuilder text, string option, CidrMatch? match)
    {
        if (match is not null) { text.Append($"{Not(match.Not)}{option} {match.Cidr} "); }
    }

    private static void AddOption(StringBuilder text, string option, string? value)
    {
        if (value is not null) { text.Append($"{option} {value} "); }
    }

    private static string Not(bool not) => not ? "! " : "";
}
