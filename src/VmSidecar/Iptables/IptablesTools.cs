using System.Collections.Immutable;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Iptables;

/// <summary>The programs of one iptables variant on this host.</summary>
/// <param name="IsLegacy">Over iptables' own kernel tables; else over nf_tables.</param>
/// <param name="Prefix">Before <c>-save</c> and <c>-restore</c>: <c>iptables-nft</c>, <c>iptables-legacy</c>, or plain <c>iptables</c> where a distribution has one variant only.</param>
internal sealed record IptablesTools(bool IsLegacy, string Prefix)
{
    public string Name => IsLegacy ? "iptables-legacy" : "iptables-nft";

    public string Save(IpFamily family) => Program(family) + "-save";

    public string Restore(IpFamily family) => Program(family) + "-restore";

    public string Program(IpFamily family) => family == IpFamily.V4 ? Prefix : "ip6" + Prefix["ip".Length..];

    /// <summary>What is installed, the system's default first.</summary>
    public static async Task<ImmutableArray<IptablesTools>> FindAsync(ICommandRunner runner, Func<string, bool> exists, CancellationToken stop)
    {
        var found = ImmutableArray.CreateBuilder<IptablesTools>();
        bool? defaultLegacy = null;
        if (exists("iptables-restore"))
        {
            CommandResult version = await runner.RunAsync("iptables", ["--version"], "", stop).ConfigureAwait(false);
            if (version.Succeeded) { defaultLegacy = !version.Output.Contains("nf_tables", StringComparison.Ordinal); }
        }
        foreach (bool legacy in defaultLegacy == true ? new[] { true, false } : [false, true])
        {
            string own = legacy ? "iptables-legacy" : "iptables-nft";
            if (exists(own + "-restore") && exists(own + "-save")) { found.Add(new(legacy, own)); }
            else if (defaultLegacy == legacy) { found.Add(new(legacy, "iptables")); }
        }
        return found.ToImmutable();
    }
}
