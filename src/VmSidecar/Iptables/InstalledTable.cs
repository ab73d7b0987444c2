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

    public bool IsEmpty => Chains.IsEmpty && Rules.IsEmpty;

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

/// <summary>One rule in the kernel: its chain, its text after the chain name, and that text in words.</summary>
internal sealed record InstalledRule(string Chain, string Spec, ImmutableArray<string> Words)
{
    /// <summary>The chain or target after <c>-j</c> or <c>-g</c>; null: none.</summary>
    public string? Target => After("-j") ?? After("-g");

    /// <summary>Carries the mark of ours.</summary>
    public bool IsMarked => After("--comment")?.StartsWith(RuleText.OwnerTag, StringComparison.Ordinal) == true;

    public string? After(string option)
    {
        int at = Words.IndexOf(option);
        return at >= 0 && at + 1 < Words.Length ? Words[at + 1] : null;
    }

    /// <summary>Takes <c>-A CHAIN …</c>, also with counters before or after it.</summary>
    public static bool TryParse(string line, [NotNullWhen(true)] out InstalledRule? rule)
    {
        rule = null;
        int begin = line.StartsWith('[') ? line.IndexOf("] ", StringComparison.Ordinal) + 2 : 0;
        if (begin == 1 || !line.AsSpan(begin).StartsWith("-A ")) { return false; }
        int chainEnd = line.IndexOf(' ', begin + 3);
        string chain = chainEnd < 0 ? line[(begin + 3)..] : line[(begin + 3)..chainEnd];
        string spec = chainEnd < 0 ? "" : line[(chainEnd + 1)..].TrimEnd();
        rule = new(chain, spec, Split(spec));
        return true;
    }

    /// <summary>Words of a rule; quotes group, a backslash keeps the next character, as iptables-save writes comments.</summary>
    private static ImmutableArray<string> Split(string spec)
    {
        var words = ImmutableArray.CreateBuilder<string>();
        var word = new System.Text.StringBuilder();
        bool quoted = false, begun = false;
        for (int i = 0; i < spec.Length; i++)
        {
            char c = spec[i];
            if (c == '\\' && quoted && i + 1 < spec.Length) { word.Append(spec[++i]); }
            else if (c == '"') { quoted = !quoted; begun = true; }
            else if (c == ' ' && !quoted)
            {
                if (begun) { words.Add(word.ToString()); word.Clear(); begun = false; }
            }
            else { word.Append(c); begun = true; }
        }
        if (begun) { words.Add(word.ToString()); }
        return words.ToImmutable();
    }
}
