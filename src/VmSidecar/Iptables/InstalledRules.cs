using System.Collections.Immutable;

namespace VmSidecar.Iptables;

/// <summary>All tables of one variant, both families, as they stand in the kernel.</summary>
internal sealed record InstalledRules(IptablesTools Tools, ImmutableArray<InstalledTable> V4, ImmutableArray<InstalledTable> V6)
{
    public ImmutableArray<InstalledTable> Of(IpFamily family) => family == IpFamily.V4 ? V4 : V6;

    public bool HasOurs => V4.Concat(V6).Any(t => !t.Owned.IsEmpty);

    /// <summary>Somebody else keeps rules or chains here.</summary>
    public bool HasForeign => V4.Concat(V6).Any(t => t.HasForeign);
}
