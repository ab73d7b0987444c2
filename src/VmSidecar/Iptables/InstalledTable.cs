using System.Collections.Immutable;

namespace VmSidecar.Iptables;

/// <summary>One table as <c>iptables-save</c> prints it, without counters.</summary>
/// <param name="Name">nat, mangle, raw, filter, security.</param>
/// <param name="Chains">Chains of users; the built-in ones are not listed.</param>
/// <param name="Rules">In order.</param>
/// <param name="HasPolicies">A built-in chain has another policy than ACCEPT.</param>
internal sealed record InstalledTable(string Name, ImmutableArray<string> Chains, ImmutableArray<InstalledRule> Rules, bool HasPolicies)
{
    /// <summary>What no rule lets in stays out.</summary>
    public bool DropsInput { get; private init; }

    private OwnedRules? _owned; // of these rules only: a copy with other rules finds its own

    private InstalledTable(InstalledTable original) =>
        (Name, Chains, Rules, HasPolicies, DropsInput) = (original.Name, original.Chains, original.Rules, original.HasPolicies, original.DropsInput);

    public bool IsEmpty => Chains.IsEmpty && Rules.IsEmpty;

    /// <summary>What of it is ours. Found once: hosts have thousands of rules, and every step of a plan asks.</summary>
    public OwnedRules Owned => _owned ??= OwnedRules.Of(this);

    /// <summary>Somebody else keeps rules, chains or a policy here.</summary>
    public bool HasForeign => HasPolicies || Chains.Length > Owned.Chains.Length || Rules.Length > Owned.Outside.Length + Owned.Inside.Length;

    /// <summary>Reads the whole output; lines it does not know (comments, warnings) are passed over.</summary>
    public static ImmutableArray<InstalledTable> Parse(string saved)
    {
        var tables = ImmutableArray.CreateBuilder<InstalledTable>();
        string? name = null;
        var chains = ImmutableArray.CreateBuilder<string>();
        var rules = ImmutableArray.CreateBuilder<InstalledRule>();
        bool policies = false, drops = false;
        foreach (string line in saved.Split('\n'))
        {
            if (line.StartsWith('*')) { (name, policies, drops) = (line[1..].Trim(), false, false); chains.Clear(); rules.Clear(); }
            else if (name is null) { continue; }
            else if (line.StartsWith(':') && line.Split(' ') is [var chain, var policy, ..])
            {
                if (policy == "-") { chains.Add(chain[1..]); }
                else { policies |= policy != "ACCEPT"; drops |= chain == ":INPUT" && policy != "ACCEPT"; }
            }
            else if (InstalledRule.TryParse(line, out InstalledRule? rule)) { rules.Add(rule); }
            else if (line.StartsWith("COMMIT", StringComparison.Ordinal)) { tables.Add(new(name, chains.ToImmutable(), rules.ToImmutable(), policies) { DropsInput = drops }); name = null; }
        }
        return tables.ToImmutable();
    }
}
