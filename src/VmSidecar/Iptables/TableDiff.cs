using System.Collections.Immutable;

namespace VmSidecar.Iptables;

/// <summary>How the rules of one table differ from the program's: lines that are missing, lines of ours too many, and chains whose order is wrong. Pure.</summary>
/// <param name="Table">nat, mangle or raw; <c>routing</c>; or another back end and its table.</param>
/// <param name="Missing">Wanted, not installed, as <c>-A CHAIN …</c>.</param>
/// <param name="Extra">Installed and ours, not wanted.</param>
/// <param name="Disordered">Chains with the right rules in the wrong order.</param>
internal sealed record TableDiff(string Table, ImmutableArray<string> Missing, ImmutableArray<string> Extra, ImmutableArray<string> Disordered)
{
    /// <summary>Rules of others that have come to stand after ours and would get what is theirs no more, as <c>-A CHAIN …</c>.</summary>
    public ImmutableArray<string> Behind { get; init; } = [];

    public bool IsEmpty => Missing.IsEmpty && Extra.IsEmpty && Disordered.IsEmpty && Behind.IsEmpty;

    public static TableDiff Between(IptablesProgram program, OwnedRules owned)
    {
        ILookup<string, string> wanted = program.Rules.Where(r => r.Table == owned.Table).ToLookup(r => r.Chain, r => RuleText.Spec(r, program.Family));
        ILookup<string, string> present = owned.Outside.Concat(owned.Inside).ToLookup(r => r.Chain, r => r.Spec);
        var missing = ImmutableArray.CreateBuilder<string>();
        var extra = ImmutableArray.CreateBuilder<string>();
        var disordered = ImmutableArray.CreateBuilder<string>();
        foreach (string chain in wanted.Select(c => c.Key).Union(present.Select(c => c.Key)))
        {
            string[] lost = [.. Minus(wanted[chain], present[chain])], found = [.. Minus(present[chain], wanted[chain])];
            missing.AddRange(lost.Select(s => $"-A {chain} {s}"));
            extra.AddRange(found.Select(s => $"-A {chain} {s}"));
            if (lost.Length == 0 && found.Length == 0 && !wanted[chain].SequenceEqual(present[chain])) { disordered.Add(chain); }
        }
        extra.AddRange(owned.Chains.Except(program.ChainsOf(owned.Table)).Where(c => !present.Contains(c)).Select(c => $"-N {c}"));
        missing.AddRange(program.ChainsOf(owned.Table).Except(owned.Chains).Where(c => !wanted.Contains(c)).Select(c => $"-N {c}"));
        return new(owned.Table, missing.ToImmutable(), extra.ToImmutable(), disordered.ToImmutable())
        {
            Behind = program.Rules.IsEmpty ? [] : [.. owned.Behind.Select(r => $"-A {r.Chain} {r.Spec}")],
        };
    }

    /// <summary>Everything of ours in a place where nothing of ours should be.</summary>
    public static TableDiff Extras(string place, OwnedRules owned) =>
        new(place, [], [.. owned.Outside.Concat(owned.Inside).Select(r => $"-A {r.Chain} {r.Spec}")], []);

    /// <summary>One line a difference, for people.</summary>
    public override string ToString() => string.Join('\n',
        [Table + ":", .. Missing.Select(m => $"  missing  {m}"), .. Extra.Select(e => $"  extra    {e}"), .. Disordered.Select(d => $"  order    {d}"),
            .. Behind.Select(b => $"  behind   {b} (of others, ours must stand after it)")]);

    /// <summary>Multiset difference, in order: duplicates count.</summary>
    private static IEnumerable<string> Minus(IEnumerable<string> from, IEnumerable<string> take)
    {
        Dictionary<string, int> counts = take.GroupBy(t => t).ToDictionary(g => g.Key, g => g.Count());
        foreach (string item in from)
        {
            if (counts.TryGetValue(item, out int left) && left > 0) { counts[item] = left - 1; }
            else { yield return item; }
        }
    }
}
