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
    public static string Apply(IptablesProgram program, ImmutableArray<InstalledTable> installed) => Text(
        [.. program.Tables.Union(installed.Select(t => t.Name)).OrderBy(IptablesProgram.TableOrder)], installed,
        owned => TableDiff.Between(program, owned).IsEmpty ? null : Wanted(program, owned.Table));

    /// <summary>Removes everything of ours: nat first, so that packets go straight again before the rest is gone.</summary>
    public static string Clean(ImmutableArray<InstalledTable> installed) => Return(installed, []);

    /// <summary>Puts back what of ours stood there before. Foreign rules stay where they are now.</summary>
    public static string Return(ImmutableArray<InstalledTable> installed, ImmutableArray<InstalledTable> before) => Text(
        [.. installed.Select(t => t.Name).OrderByDescending(IptablesProgram.TableOrder)], installed, owned =>
        {
            OwnedRules then = Owned(owned.Table, before);
            return Same(owned, then) ? null : new(then.Chains, [.. then.Outside.Concat(then.Inside).Select(r => new Line(r.Chain, r.Spec, AtTop: false))]);
        });

    /// <summary>The program on its own, as a host without any rule would get it.</summary>
    public static string Show(IptablesProgram program) => Apply(program, []);

    public static OwnedRules Owned(string table, ImmutableArray<InstalledTable> installed) =>
        installed.FirstOrDefault(t => t.Name == table) is { } found ? found.Owned : new(table, [], [], []);

    private static bool Same(OwnedRules one, OwnedRules other) => one.Chains.Order(StringComparer.Ordinal).SequenceEqual(other.Chains.Order(StringComparer.Ordinal))
        && one.Outside.Concat(one.Inside).Select(r => (r.Chain, r.Spec)).SequenceEqual(other.Outside.Concat(other.Inside).Select(r => (r.Chain, r.Spec)));

    private static Image Wanted(IptablesProgram program, string table) => new([.. program.ChainsOf(table)],
        [.. program.Rules.Where(r => r.Table == table).Select(r => new Line(r.Chain, RuleText.Spec(r, program.Family), r.AtTop))]);

    private static string Text(ImmutableArray<string> tables, ImmutableArray<InstalledTable> installed, Func<OwnedRules, Image?> plan)
    {
        var text = new StringBuilder();
        foreach (string table in tables)
        {
            OwnedRules owned = Owned(table, installed);
            if (plan(owned) is { } wanted) { AppendTable(text, owned, wanted); }
        }
        return text.ToString();
    }

    private static void AppendTable(StringBuilder text, OwnedRules owned, Image wanted)
    {
        ImmutableArray<string> obsolete = [.. owned.Chains.Except(wanted.Chains)];
        text.Append('*').Append(owned.Table).Append('\n');
        // ":CHAIN -" makes the chain, or empties the one that is there.
        foreach (string chain in wanted.Chains.Concat(obsolete)) { text.Append(':').Append(chain).Append(" - [0:0]\n"); }
        foreach (InstalledRule rule in owned.Outside) { text.Append("-D ").Append(rule.Chain).Append(' ').Append(rule.Spec).Append('\n'); }
        foreach (string chain in obsolete) { text.Append("-X ").Append(chain).Append('\n'); }
        var top = new Dictionary<string, int>();
        foreach (Line rule in wanted.Rules)
        {
            int position = rule.AtTop ? top[rule.Chain] = top.GetValueOrDefault(rule.Chain) + 1 : 0;
            text.Append(rule.AtTop ? $"-I {rule.Chain} {position} " : $"-A {rule.Chain} ").Append(rule.Spec).Append('\n');
        }
        text.Append("COMMIT\n");
    }

    /// <summary>What a table shall hold of ours.</summary>
    private sealed record Image(ImmutableArray<string> Chains, ImmutableArray<Line> Rules);

    private readonly record struct Line(string Chain, string Spec, bool AtTop);
}
