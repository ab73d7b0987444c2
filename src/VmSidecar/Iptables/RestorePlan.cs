using System.Collections.Immutable;
using System.Text;

namespace VmSidecar.Iptables;

/// <summary>
/// From what is installed to what is wanted, as input of <c>iptables-restore --noflush</c>: per table one transaction that takes off what is ours
/// there now and puts on what shall be. Tables that are already right are left out; an empty text means nothing to do. Pure.
/// </summary>
internal static class RestorePlan
{
    /// <summary>Installs <paramref name="program"/>, replacing whatever of ours stands there.</summary>
    public static string Apply(IptablesProgram program, ImmutableArray<InstalledTable> installed) =>
        Text([.. IptablesProgramTables(program, installed).OrderBy(IptablesProgram.TableOrder)], program, installed);

    /// <summary>Removes everything of ours: nat first, so that packets go straight again before the rest is gone.</summary>
    public static string Clean(IpFamily family, ImmutableArray<InstalledTable> installed) =>
        Text([.. installed.Select(t => t.Name).OrderByDescending(IptablesProgram.TableOrder)], new(family, []), installed);

    /// <summary>The program on its own, as a host without any rule would get it.</summary>
    public static string Show(IptablesProgram program) => Apply(program, []);

    private static IEnumerable<string> IptablesProgramTables(IptablesProgram program, ImmutableArray<InstalledTable> installed) =>
        program.Tables.Union(installed.Select(t => t.Name));

    private static string Text(ImmutableArray<string> tables, IptablesProgram program, ImmutableArray<InstalledTable> installed)
    {
        var text = new StringBuilder();
        foreach (string table in tables)
        {
            OwnedRules owned = Owned(table, installed);
            if (!TableDiff.Between(program, owned).IsEmpty) { AppendTable(text, table, program, owned); }
        }
        return text.ToString();
    }

    public static OwnedRules Owned(string table, ImmutableArray<InstalledTable> installed) =>
        installed.FirstOrDefault(t => t.Name == table) is { } found ? OwnedRules.Of(found) : new(table, [], [], []);

    private static void AppendTable(StringBuilder text, string table, IptablesProgram program, OwnedRules owned)
    {
        ImmutableArray<string> wanted = [.. program.ChainsOf(table)];
        ImmutableArray<string> obsolete = [.. owned.Chains.Except(wanted)];
        text.Append('*').Append(table).Append('\n');
        // ":CHAIN -" makes the chain, or empties the one that is there.
        foreach (string chain in wanted.Concat(obsolete)) { text.Append(':').Append(chain).Append(" - [0:0]\n"); }
        foreach (InstalledRule rule in owned.Outside) { text.Append("-D ").Append(rule.Chain).Append(' ').Append(rule.Spec).Append('\n'); }
        foreach (string chain in obsolete) { text.Append("-X ").Append(chain).Append('\n'); }
        var top = new Dictionary<string, int>();
        foreach (CaptureRule rule in program.Rules.Where(r => r.Table == table))
        {
            if (rule.AtTop)
            {
                int position = top[rule.Chain] = top.GetValueOrDefault(rule.Chain) + 1;
                text.Append("-I ").Append(rule.Chain).Append(' ').Append(position).Append(' ');
            }
            else
            {
                text.Append("-A ").Append(rule.Chain).Append(' ');
            }
            text.Append(RuleText.Spec(rule, program.Family)).Append('\n');
        }
        text.Append("COMMIT\n");
    }
}
