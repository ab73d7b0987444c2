using System.Collections.Immutable;
using VmSidecar.Configuration;

namespace VmSidecar.Iptables;

/// <summary>
/// Which variant loads the rules: the one asked for; else the one that holds other people's rules; else the one that holds ours; else the system's
/// default; with no iptables at all, nftables itself (nothing chosen, nothing refused). Rules of others in both make no sense to guess at: packets meet
/// both, and an operator must say which is alive. Pure.
/// </summary>
internal sealed record BackendChoice(InstalledRules? Chosen, string? Refusal)
{
    public static BackendChoice For(CaptureBackendKind wanted, ImmutableArray<InstalledRules> variants)
    {
        if (wanted is CaptureBackendKind.IptablesLegacy or CaptureBackendKind.IptablesNft)
        {
            bool legacy = wanted == CaptureBackendKind.IptablesLegacy;
            return variants.FirstOrDefault(v => v.Tools.IsLegacy == legacy) is { } asked ? new(asked, null)
                : new(null, $"{(legacy ? "iptables-legacy" : "iptables-nft")} is not installed");
        }
        if (variants.IsEmpty) { return new(null, null); }
        InstalledRules[] foreign = [.. variants.Where(v => v.HasForeign)];
        if (foreign.Length > 1)
        {
            return new(null, "both iptables-nft and iptables-legacy hold rules of other programs, and packets meet both");
        }
        return new(foreign.FirstOrDefault() ?? variants.FirstOrDefault(v => v.HasOurs) ?? variants[0], null);
    }
}
