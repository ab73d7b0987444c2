using System.Collections.Immutable;

namespace VmSidecar.Iptables;

/// <summary>One rule in the kernel: its chain, and its text after the chain name as <c>iptables-save</c> prints it.</summary>
internal sealed class InstalledRule(string chain, string spec)
{
    private ImmutableArray<string> _words;

    /// <summary>The chain it stands in.</summary>
    public string Chain => chain;

    /// <summary>The text after <c>-A CHAIN</c>.</summary>
    public string Spec => spec;

    /// <summary><see cref="Spec"/> in words, quotes taken off; split when first asked for, because most rules of a host are never looked into.</summary>
    public ImmutableArray<string> Words
    {
        get
        {
            if (_words.IsDefault) { _words = Split(spec); }
            return _words;
        }
    }

    /// <summary>The chain or target after <c>-j</c> or <c>-g</c>; null: none.</summary>
    public string? Target => After("-j") ?? After("-g");

    /// <summary>Carries the mark of ours.</summary>
    public bool IsMarked => spec.Contains(RuleText.OwnerTag, StringComparison.Ordinal) && After("--comment")?.StartsWith(RuleText.OwnerTag, StringComparison.Ordinal) == true;

    /// <summary>The word after an option; null: the rule does not have it.</summary>
    public string? After(string option)
    {
        int at = Words.IndexOf(option);
        return at >= 0 && at + 1 < Words.Length ? Words[at + 1] : null;
    }

    /// <summary>Takes <c>-A CHAIN …</c>, also with counters before it.</summary>
    public static bool TryParse(string line, [NotNullWhen(true)] out InstalledRule? rule)
    {
        rule = null;
        int begin = line.StartsWith('[') ? line.IndexOf("] ", StringComparison.Ordinal) + 2 : 0;
        if (begin == 1 || !line.AsSpan(begin).StartsWith("-A ")) { return false; }
        int chainEnd = line.IndexOf(' ', begin + 3);
        string chain = chainEnd < 0 ? line[(begin + 3)..] : line[(begin + 3)..chainEnd];
        rule = new(chain, chainEnd < 0 ? "" : line[(chainEnd + 1)..].TrimEnd());
        return true;
    }

    /// <summary>Quotes group, a backslash keeps the next character, as iptables-save writes comments.</summary>
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
