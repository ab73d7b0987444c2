using System.Collections.Immutable;
using System.Globalization;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Iptables;

/// <summary>The two acts iptables offers, on either variant: read all tables, load a text. Waits for the lock of iptables itself.</summary>
internal sealed class IptablesKernel(ICommandRunner runner)
{
    /// <summary>Exit code of iptables for a lock not got and for a resource that is busy.</summary>
    private const int LockHeld = 4;

    /// <summary>How long iptables may wait for its own lock, which every program that changes legacy rules takes.</summary>
    public TimeSpan LockPatience { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Whether a program is installed; a seam for tests.</summary>
    public Func<string, bool> Exists { get; init; } = name => CommandRunner.Find(name) is not null;

    /// <summary>Whether the kernel holds legacy tables of a family; asking this way loads none of them, unlike <c>iptables-legacy-save</c>.</summary>
    public Func<IpFamily, bool> HasLegacyTables { get; init; } = ReadLegacyTables;

    /// <summary>All variants installed, the system's default first.</summary>
    public async Task<ImmutableArray<InstalledRules>> InspectAsync(CancellationToken stop)
    {
        var variants = ImmutableArray.CreateBuilder<InstalledRules>();
        foreach (IptablesTools tools in await IptablesTools.FindAsync(runner, Exists, stop).ConfigureAwait(false))
        {
            Task<ImmutableArray<InstalledTable>> v4 = SaveAsync(tools, IpFamily.V4, stop), v6 = SaveAsync(tools, IpFamily.V6, stop);
            await Task.WhenAll(v4, v6).ConfigureAwait(false);
            variants.Add(new(tools, await v4.ConfigureAwait(false), await v6.ConfigureAwait(false)));
        }
        return variants.ToImmutable();
    }

    public async Task<ImmutableArray<InstalledTable>> SaveAsync(IptablesTools tools, IpFamily family, CancellationToken stop)
    {
        if (tools.IsLegacy && !HasLegacyTables(family)) { return []; }
        CommandResult saved = await runner.RunAsync(tools.Save(family), [], "", stop).ConfigureAwait(false);
        if (saved.Succeeded) { return InstalledTable.Parse(saved.Output); }
        if (family == IpFamily.V6) { return []; } // a kernel without IPv6
        throw new FatalException("iptables", $"{tools.Save(family)}: {saved.FirstErrorLine}", "Run as root, and see that the kernel has nf_tables or ip_tables");
    }

    /// <summary>Null: done; else the tool's first word on it.</summary>
    public async Task<string?> RestoreAsync(IptablesTools tools, IpFamily family, string input, CancellationToken stop)
    {
        string seconds = LockPatience.TotalSeconds.ToString("0", CultureInfo.InvariantCulture);
        CommandResult done = await runner.RunAsync(tools.Restore(family), ["--noflush", "-w", seconds], input, stop).ConfigureAwait(false);
        if (done.Succeeded) { return null; }
        return done.ExitCode == LockHeld && done.Error.Contains("lock", StringComparison.Ordinal)
            ? $"{tools.Restore(family)}: another program has held the lock of iptables for {seconds} s; see who with: fuser -v /run/xtables.lock"
            : $"{tools.Restore(family)}: {done.FirstErrorLine}";
    }

    private static bool ReadLegacyTables(IpFamily family)
    {
        try
        {
            return File.ReadAllText(family == IpFamily.V4 ? "/proc/self/net/ip_tables_names" : "/proc/self/net/ip6_tables_names").Trim().Length > 0;
        }
        catch (IOException)
        {
            return false; // the module is not loaded
        }
    }
}
