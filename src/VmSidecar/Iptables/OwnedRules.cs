using System.Collections.Immutable;

namespace VmSidecar.Iptables;

/// <summary>
/// What of an installed table is ours or pilot-agent's, whatever the options were then: chains by name, rules by mark, by jump to one of these chains,
/// and, unmarked in built-in chains, by the exact shapes pilot-agent 1.10 to current leaves there. Everything else is foreign and never touched.
/// </summary>
internal sealed record OwnedRules(string Table, ImmutableArray<string> Chains, ImmutableArray<InstalledRule> Outside, ImmutableArray<InstalledRule> Inside)
{
    public bool IsEmpty => Chains.IsEmpty && Outside.IsEmpty;

    /// <summary>
    /// Rules of others in nat's built-in chains that stand after ours and send packets elsewhere, as docker's jump does after a restart of docker. Ours stand
    /// last: what others redirect is theirs, whoever came first.
    /// </summary>
    public ImmutableArray<InstalledRule> Behind { get; private init; } = [];

    public static OwnedRules Of(InstalledTable table)
    {
        ImmutableArray<string> chains = [.. table.Chains.Where(IptablesProgram.KnownChains.Contains)];
        ImmutableArray<InstalledRule> inside = chains.IsEmpty ? [] : [.. table.Rules.Where(r => chains.Contains(r.Chain))];
        InstalledRule[] candidates = [.. table.Rules.Where(r => MayBeOurs(r) && !chains.Contains(r.Chain))];
        // An unmarked jump or chain says that pilot-agent has been here: only then do its plainer shapes count.
        bool unmarked = inside.Concat(candidates.Where(r => JumpsToOurs(r) || RedirectsNames(r))).Any(r => !r.IsMarked);
        HashSet<InstalledRule> interfaces = unmarked ? InterfaceReturns(table) : [];
        ImmutableArray<InstalledRule> outside = [.. candidates.Where(r => r.IsMarked || JumpsToOurs(r) || RedirectsNames(r) || IsClassicShape(table.Name, r, unmarked) || interfaces.Contains(r))];
        return new(table.Name, chains, outside, inside) { Behind = table.Name == "nat" ? FindBehind(table, outside) : [] };
    }

    private static ImmutableArray<InstalledRule> FindBehind(InstalledTable table, ImmutableArray<InstalledRule> ours)
    {
        var behind = ImmutableArray.CreateBuilder<InstalledRule>();
        foreach (string chain in new[] { "PREROUTING", "OUTPUT" })
        {
            HashSet<InstalledRule> jumps = [.. ours.Where(r => r.Chain == chain && r.Target is IptablesProgram.Chains.Inbound or IptablesProgram.Chains.Output)];
            if (jumps.Count == 0) { continue; }
            behind.AddRange(table.Rules.Where(r => r.Chain == chain).SkipWhile(r => !jumps.Contains(r)).Where(r => !ours.Contains(r) && SendsElsewhere(table, r)));
        }
        return behind.ToImmutable();
    }

    private static bool SendsElsewhere(InstalledTable table, InstalledRule rule) =>
        rule.Target is { } target && (target is "DNAT" or "REDIRECT" or "NETMAP" || table.Chains.Contains(target));

    /// <summary>Everything of ours stands in these two built-in chains or names one of our chains or our mark: the rest, thousands on some hosts, need no reading.</summary>
    private static bool MayBeOurs(InstalledRule rule) => rule.Chain is "PREROUTING" or "OUTPUT"
        || rule.Spec.Contains("ISTIO_", StringComparison.Ordinal) || rule.Spec.Contains(RuleText.OwnerTag, StringComparison.Ordinal);

    private static bool JumpsToOurs(InstalledRule rule) => rule.Target is { } target && IptablesProgram.KnownChains.Contains(target);

    /// <summary>1.10 to 1.22: UDP queries to the agent, in OUTPUT itself.</summary>
    private static bool RedirectsNames(InstalledRule rule) => rule.Chain == "OUTPUT" && Is(rule, "-d?", "-p udp", "-m udp", "--dport 53", "-j REDIRECT", "--to-ports 15053");

    private static bool IsClassicShape(string table, InstalledRule r, bool unmarked) => table switch
    {
        "nat" => unmarked && r.Chain == "OUTPUT"
            && (Is(r, "-p udp", "-m udp", "--dport 53", "-m owner", "--uid-owner *", "-j RETURN") || Is(r, "-p udp", "-m udp", "--dport 53", "-m owner", "--gid-owner *", "-j RETURN")),
        "raw" => IsZone(r),
        "mangle" => IsMark(r) || (unmarked && r.Chain == "PREROUTING" && Is(r, "-m conntrack", "--ctstate INVALID", "-j DROP")),
        _ => false,
    };

    private static bool IsZone(InstalledRule r) =>
        (r.Chain == "OUTPUT" && (
            Is(r, "-p udp", "-m udp", "--dport 53", "-m owner", "--uid-owner *", "-j CT", "--zone 1")
            || Is(r, "-p udp", "-m udp", "--dport 53", "-m owner", "--gid-owner *", "-j CT", "--zone 1")
            || Is(r, "-p udp", "-m udp", "--sport 15053", "-m owner", "--uid-owner *", "-j CT", "--zone 2")
            || Is(r, "-p udp", "-m udp", "--sport 15053", "-m owner", "--gid-owner *", "-j CT", "--zone 2")
            || Is(r, "-d?", "-p udp", "-m udp", "--dport 53", "-j CT", "--zone 2")))
        || (r.Chain == "PREROUTING" && (Is(r, "-s?", "-p udp", "-m udp", "--sport 53", "-j CT", "--zone 1") || Is(r, "-d?", "-p udp", "-m udp", "--sport 53", "-j CT", "--zone 1")));

    private static bool IsMark(InstalledRule r) => r.Chain switch
    {
        "PREROUTING" => Is(r, "-p tcp", "-m mark", "--mark 0x539", "-j CONNMARK", "--save-mark", "--nfmask 0xffffffff", "--ctmask 0xffffffff"),
        "OUTPUT" => Is(r, "-p tcp", "-m connmark", "--mark 0x539", "-j CONNMARK", "--restore-mark", "--nfmask 0xffffffff", "--ctmask 0xffffffff")
            || Is(r, "-o lo", "-p tcp", "-m mark", "--mark 0x539", "-j RETURN")
            || (r.Words.Contains("0x53a/0xffffffff") && r.Words.Contains("-o") && r.Target == "MARK"),
        _ => false,
    };

    /// <summary>
    /// Excluded and kube-virt interfaces leave a bare RETURN, which may be anybody's. It counts only in the unbroken run of such rules and of jumps to our
    /// chains that ends at such a jump, and only where its other half is there: the same interface in the other direction, or redirected.
    /// </summary>
    private static HashSet<InstalledRule> InterfaceReturns(InstalledTable table)
    {
        InstalledRule[] inRun = [.. Run(table, "PREROUTING"), .. Run(table, "OUTPUT")];
        bool HasOther(InstalledRule rule) => rule.After("-i") is { } input
            ? inRun.Any(r => r.After("-o") == input) || table.Rules.Any(r => r.Chain == "PREROUTING" && r.After("-i") == input && r.Target == IptablesProgram.Chains.Redirect)
            : inRun.Any(r => r.After("-i") == rule.After("-o"));
        return [.. inRun.Where(HasOther)];
    }

    private static IEnumerable<InstalledRule> Run(InstalledTable table, string chain)
    {
        bool run = false;
        foreach (InstalledRule rule in table.Rules.Where(r => r.Chain == chain).Reverse())
        {
            bool isReturn = Is(rule, chain == "PREROUTING" ? "-i *" : "-o *", "-j RETURN");
            run = JumpsToOurs(rule) || (run && isReturn);
            if (run && isReturn) { yield return rule; }
        }
    }

    /// <summary>The rule is exactly these parts in this order; <c>*</c> stands for any word, <c>-d?</c> for an optional <c>-d WORD</c>.</summary>
    private static bool Is(InstalledRule rule, params ReadOnlySpan<string> parts)
    {
        int at = 0;
        foreach (string part in parts)
        {
            if (part.EndsWith('?'))
            {
                if (at < rule.Words.Length && rule.Words[at] == part[..^1]) { at += 2; }
                continue;
            }
            foreach (string word in part.Split(' '))
            {
                if (at >= rule.Words.Length || (word != "*" && word != rule.Words[at])) { return false; }
                at++;
            }
        }
        return at == rule.Words.Length;
    }
}
