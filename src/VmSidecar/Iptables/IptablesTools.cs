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
        bool? defaultLegacy = exists("iptables-restore") ? DefaultByFile(CommandRunner.Find("iptables")) ?? await DefaultByWordAsync(runner, stop).ConfigureAwait(false) : null;
        foreach (bool legacy in defaultLegacy == true ? new[] { true, false } : [false, true])
        {
            string own = legacy ? "iptables-legacy" : "iptables-nft";
            if (exists(own + "-restore") && exists(own + "-save")) { found.Add(new(legacy, own)); }
            else if (defaultLegacy == legacy) { found.Add(new(legacy, "iptables")); }
        }
        return found.ToImmutable();
    }

    /// <summary>Where the system's <c>iptables</c> leads (alternatives are links) says which variant it is, without running it; null: it does not say.</summary>
    private static bool? DefaultByFile(string? path)
    {
        string name = path is null ? "" : File.ResolveLinkTarget(path, returnFinalTarget: true)?.Name ?? "";
        return name.Contains("nft", StringComparison.Ordinal) ? false : name.Contains("legacy", StringComparison.Ordinal) ? true : null;
    }

    private static async Task<bool?> DefaultByWordAsync(ICommandRunner runner, CancellationToken stop)
    {
        CommandResult version = await runner.RunAsync("iptables", ["--version"], "", stop).ConfigureAwait(false);
        return version.Succeeded ? !version.Output.Contains("nf_tables", StringComparison.Ordinal) : null;
    }
}
