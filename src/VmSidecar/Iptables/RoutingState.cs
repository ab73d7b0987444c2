using System.Collections.Immutable;

namespace VmSidecar.Iptables;

/// <summary>What <see cref="PolicyRouting"/> found of ours: a value to go back to.</summary>
/// <param name="Rules">Rules of policy routing with our tag or the classic shape.</param>
/// <param name="HasAddress">lo has <c>::6</c>.</param>
internal sealed record RoutingState(ImmutableArray<RoutingRule> Rules, bool HasAddress);

/// <summary>One rule <c>fwmark MARK lookup TABLE</c>, the words as <c>ip</c> prints them.</summary>
/// <param name="Family"><c>-4</c> or <c>-6</c>.</param>
/// <param name="Priority">Its place among the rules.</param>
/// <param name="Mark">Hexadecimal.</param>
/// <param name="Table">Number of the table it sends packets to.</param>
internal readonly record struct RoutingRule(string Family, string Priority, string Mark, string Table);
