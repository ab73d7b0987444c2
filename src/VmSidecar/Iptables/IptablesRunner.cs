using System.Collections.Immutable;
using VmSidecar.Configuration;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Iptables;

/// <summary>
/// Brings a program into the kernel and takes it out: reads what is there, computes the change, loads it in one call a family. The only place that
/// changes the host's rules. Safe to run twice, also at once; after a kill the next run goes on from whatever it finds.
/// </summary>
internal sealed class IptablesRunner(ICommandRunner runner, string stateFolder, TimeProvider time)
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60); // a bit more than iptables' own lock may take
    private const string LockSeconds = "30";
    private static readonly IpFamily[] s_families = [IpFamily.V4, IpFamily.V6];

    /// <summary>Whether a program is installed; a seam for tests.</summary>
    public Func<string, bool> Exists { get; init; } = name => CommandRunner.Find(name) is not null;

    /// <summary>Whether the kernel holds legacy tables of a family; asking this way loads none of them, unlike <c>iptables-legacy-save</c>.</summary>
    public Func<IpFamily, bool> HasLegacyTables { get; init; } = ReadLegacyTables;

    private readonly PolicyRouting _routing = new(runner);
    private readonly CreatedTables _created = new(stateFolder, runner);

    /// <summary>Installs the options' rules, in place of any of ours. True: something changed.</summary>
    public async Task<bool> ApplyAsync(CaptureOptions options, CancellationToken stop)
    {
        using CaptureLock held = await CaptureLock.TakeAsync(stateFolder, s_patience, time, stop).ConfigureAwait(false);
        ImmutableArray<InstalledRules> variants = await InspectAsync(stop).ConfigureAwait(false);
        InstalledRules chosen = Choose(options, variants);
        bool changed = false;
        // 1. What stands in the other variant would catch packets a second time.
        foreach (InstalledRules other in variants.Where(v => v != chosen && v.HasOurs)) { changed |= await CleanAsync(other, stop).ConfigureAwait(false); }
        // 2. Routes before the rules that send packets there.
        if (await _routing.ApplyAsync(options, stop).ConfigureAwait(false) is { } problem) { throw Failed(problem); }
        // 3. The rules.
        if (!chosen.Tools.IsLegacy) { _created.Remember(Absent(options, chosen)); }
        foreach (IpFamily family in s_families)
        {
            string input = RestorePlan.Apply(IptablesProgram.For(options, family), chosen.Of(family));
            if (input.Length == 0) { continue; }
            changed = true;
            if (await RestoreAsync(chosen.Tools, family, input, stop).ConfigureAwait(false) is { } refused)
            {
                await RollBackAsync(stop).ConfigureAwait(false);
                throw Failed(refused);
            }
        }
        return changed;
    }

    /// <summary>Removes every rule of ours from both variants. True: something was there.</summary>
    public async Task<bool> CleanAsync(CancellationToken stop)
    {
        using CaptureLock held = await CaptureLock.TakeAsync(stateFolder, s_patience, time, stop).ConfigureAwait(false);
        return await CleanAllAsync(stop).ConfigureAwait(false);
    }

    /// <summary>How the kernel differs from the program, both families; null program side: nothing wanted.</summary>
    public async Task<(IptablesTools? Tools, ImmutableArray<(IpFamily Family, TableDiff Diff)> Tables)> DiffAsync(CaptureOptions options, CancellationToken stop)
    {
        InstalledRules chosen = Choose(options, await InspectAsync(stop).ConfigureAwait(false));
        var diffs = ImmutableArray.CreateBuilder<(IpFamily, TableDiff)>();
        foreach (IpFamily family in s_families)
        {
            IptablesProgram program = IptablesProgram.For(options, family);
            foreach (string table in program.Tables.Union(chosen.Of(family).Select(t => t.Name)))
            {
                TableDiff diff = TableDiff.Between(program, RestorePlan.Owned(table, chosen.Of(family)));
                if (!diff.IsEmpty) { diffs.Add((family, diff)); }
            }
        }
        return (chosen.Tools, diffs.ToImmutable());
    }

    private static FatalException Failed(string problem) =>
        new("iptables", problem, "Run 'vmsidecar iptables show' and try its lines with iptables-restore --noflush --test");

    private static InstalledRules Choose(CaptureOptions options, ImmutableArray<InstalledRules> variants)
    {
        BackendChoice choice = BackendChoice.For(options.Backend, variants);
        return choice.Chosen ?? throw new FatalException("iptables", choice.Refusal ?? "no back end",
            variants.IsEmpty ? "Install the iptables package" : "Move the rules of one to the other, or choose with --backend iptables-nft or --backend iptables-legacy");
    }

    private static IEnumerable<(IpFamily, string)> Absent(CaptureOptions options, InstalledRules chosen) =>
        s_families.SelectMany(f => IptablesProgram.For(options, f).Tables.Except(chosen.Of(f).Select(t => t.Name)).Select(t => (f, t)));

    /// <summary>Half a change is worse than none: everything of ours goes.</summary>
    private async Task RollBackAsync(CancellationToken stop) => await CleanAllAsync(stop).ConfigureAwait(false);

    private async Task<bool> CleanAllAsync(CancellationToken stop)
    {
        bool changed = false;
        foreach (InstalledRules variant in await InspectAsync(stop).ConfigureAwait(false)) { changed |= await CleanAsync(variant, stop).ConfigureAwait(false); }
        changed |= await _routing.CleanAsync(stop).ConfigureAwait(false);
        await _created.RemoveEmptyAsync(stop).ConfigureAwait(false);
        return changed;
    }

    private async Task<bool> CleanAsync(InstalledRules variant, CancellationToken stop)
    {
        bool changed = false;
        foreach (IpFamily family in s_families)
        {
            string input = RestorePlan.Clean(family, variant.Of(family));
            if (input.Length == 0) { continue; }
            changed = true;
            if (await RestoreAsync(variant.Tools, family, input, stop).ConfigureAwait(false) is { } refused) { throw Failed(refused); }
        }
        return changed;
    }

    private async Task<string?> RestoreAsync(IptablesTools tools, IpFamily family, string input, CancellationToken stop)
    {
        CommandResult done = await runner.RunAsync(tools.Restore(family), ["--noflush", "-w", LockSeconds], input, stop).ConfigureAwait(false);
        return done.Succeeded ? null : $"{tools.Restore(family)}: {done.FirstErrorLine}";
    }

    /// <summary>Reads both variants. A variant that cannot be read is left out, unless it is the only one.</summary>
    internal async Task<ImmutableArray<InstalledRules>> InspectAsync(CancellationToken stop)
    {
        var variants = ImmutableArray.CreateBuilder<InstalledRules>();
        foreach (IptablesTools tools in await IptablesTools.FindAsync(runner, Exists, stop).ConfigureAwait(false))
        {
            variants.Add(new(tools, await SaveAsync(tools, IpFamily.V4, stop).ConfigureAwait(false), await SaveAsync(tools, IpFamily.V6, stop).ConfigureAwait(false)));
        }
        return variants.ToImmutable();
    }

    private async Task<ImmutableArray<InstalledTable>> SaveAsync(IptablesTools tools, IpFamily family, CancellationToken stop)
    {
        if (tools.IsLegacy && !HasLegacyTables(family)) { return []; }
        CommandResult saved = await runner.RunAsync(tools.Save(family), [], "", stop).ConfigureAwait(false);
        if (saved.Succeeded) { return InstalledTable.Parse(saved.Output); }
        if (family == IpFamily.V6) { return []; } // a kernel without IPv6
        throw new FatalException("iptables", $"{tools.Save(family)}: {saved.FirstErrorLine}", "Run as root, and see that the kernel has nf_tables or ip_tables");
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
