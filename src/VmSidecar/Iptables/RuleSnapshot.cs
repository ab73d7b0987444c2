using System.Collections.Immutable;

namespace VmSidecar.Iptables;

/// <summary>What stood in the kernel before a change that may be taken back. A value; made and used by <see cref="IptablesRunner"/>.</summary>
/// <param name="Variants">Both iptables variants.</param>
/// <param name="Native">Our nftables table as nft prints it, or null.</param>
/// <param name="Routing">Routes and address beside the rules.</param>
internal sealed record RuleSnapshot(ImmutableArray<InstalledRules> Variants, string? Native, RoutingState Routing)
{
    /// <summary>Capture rules of whatever maker stood there.</summary>
    public bool HasOurs => Native is not null || Variants.Any(v => v.HasOurs);
}
