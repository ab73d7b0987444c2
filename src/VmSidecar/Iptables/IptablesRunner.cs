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
    private static readonly IpFamily[] s_families = [IpFamily.V4, IpFamily.V6];

    private readonly PolicyRouting _routing = new(runner);
    private readonly CreatedTables _created = new(stateFolder, runner);
    private readonly NftablesTable _native = new(runner, stateFolder);

    /// <summary>Reads and loads iptables' tables.</summary>
    public IptablesKernel Kernel { get; init; } = new(runner);

    /// <summary>Told what the operator ought to know though nothing failed.</summary>
    public Action<string> Advise { get; init; } = _ => { };

    /// <summary>Installs the options' rules, in place of any of ours. True: something changed.</summary>
    public async Task<bool> ApplyAsync(CaptureOptions options, CancellationToken stop)
    {
        using CaptureLock held = await LockAsync(stop).ConfigureAwait(false);
        ImmutableArray<InstalledRules> variants = await Kernel.InspectAsync(stop).ConfigureAwait(false);
        InstalledRules? chosen = Choose(options, variants);
        if (FirewallAdvice.For(options, variants) is { } advice) { Advise(advice); }
        bool changed = false;
        // 1. What stands elsewhere would catch packets a second time.
        foreach (InstalledRules other in variants.Where(v => v != chosen && v.HasOurs)) { changed |= await CleanAsync(other, stop).ConfigureAwait(false); }
        if (chosen is not null) { changed |= await _native.CleanAsync(stop).ConfigureAwait(false); }
        // 2. Routes before the rules that send packets there, and none that the options do not ask for.
        if (!options.Tproxy || !options.IPv6) { changed |= await _routing.CleanAsync(options, stop).ConfigureAwait(false); }
        if (await _routing.ApplyAsync(options, stop).ConfigureAwait(false) is { } problem) { throw Failed(problem); }
        // 3. The rules.
        return changed | (chosen is null ? await ApplyNativeAsync(options, stop).ConfigureAwait(false) : await ApplyAsync(options, chosen, stop).ConfigureAwait(false));
    }

    /// <summary>Removes every rule of ours from all back ends. True: something was there.</summary>
    public async Task<bool> CleanAsync(CancellationToken stop)
    {
        using CaptureLock held = await LockAsync(stop).ConfigureAwait(false);
        bool changed = await _native.CleanAsync(stop).ConfigureAwait(false);
        foreach (InstalledRules variant in await Kernel.InspectAsync(stop).ConfigureAwait(false)) { changed |= await CleanAsync(variant, stop).ConfigureAwait(false); }
        changed |= await _routing.CleanAsync(null, stop).ConfigureAwait(false);
        await _created.RemoveEmptyAsync(stop).ConfigureAwait(false);
        return changed;
    }

    /// <summary>What stands there now, for <see cref="ReturnAsync"/>.</summary>
    public async Task<RuleSnapshot> SnapshotAsync(CancellationToken stop) =>
        new(await Kernel.InspectAsync(stop).ConfigureAwait(false), await _native.ListAsync(stop).ConfigureAwait(false));

    /// <summary>Takes back every change since <paramref name="before"/>: nothing of ours, or what was there.</summary>
    public async Task ReturnAsync(RuleSnapshot before, CancellationToken stop)
    {
        if (!before.HasOurs) { await CleanAsync(stop).ConfigureAwait(false); return; }
        using CaptureLock held = await LockAsync(stop).ConfigureAwait(false);
        await _native.ReturnAsync(before.Native, stop).ConfigureAwait(false);
        foreach (InstalledRules variant in before.Variants) { await RollBackAsync(variant, stop).ConfigureAwait(false); }
    }

    /// <summary>How the kernel differs from the program, both families, and the back end looked at.</summary>
    public async Task<(string Backend, ImmutableArray<(IpFamily Family, TableDiff Diff)> Tables)> DiffAsync(CaptureOptions options, CancellationToken stop)
    {
        InstalledRules? chosen = Choose(options, await Kernel.InspectAsync(stop).ConfigureAwait(false));
        if (chosen is null)
        {
            TableDiff native = await _native.DiffAsync(Transaction(options), stop).ConfigureAwait(false);
            return (NftablesTable.Name, native.IsEmpty ? [] : [(IpFamily.V4, native)]);
        }
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
        return (chosen.Tools.Name, diffs.ToImmutable());
    }

    /// <summary>The native program of both families.</summary>
    public static string Transaction(CaptureOptions options) => NftText.Transaction(s_families.Select(f => IptablesProgram.For(options, f)));

    private Task<CaptureLock> LockAsync(CancellationToken stop) => CaptureLock.TakeAsync(stateFolder, s_patience, time, stop);

    private static FatalException Failed(string problem) =>
        new("iptables", problem, "Run 'vmsidecar iptables show' and try its lines with iptables-restore --noflush --test");

    /// <summary>Null: native nftables.</summary>
    private static InstalledRules? Choose(CaptureOptions options, ImmutableArray<InstalledRules> variants)
    {
        if (options.Backend == CaptureBackendKind.Nftables) { return null; }
        BackendChoice choice = BackendChoice.For(options.Backend, variants);
        if (choice.Refusal is null) { return choice.Chosen; }
        throw new FatalException("iptables", choice.Refusal,
            variants.IsEmpty ? "Install the iptables or nftables package" : "Move the rules of one to the other, or choose with --backend iptables-nft or --backend iptables-legacy");
    }

    private async Task<bool> ApplyNativeAsync(CaptureOptions options, CancellationToken stop)
    {
        if (!Kernel.Exists("nft")) { throw NoTools(options.Backend); }
        string transaction = Transaction(options);
        if ((await _native.DiffAsync(transaction, stop).ConfigureAwait(false)).IsEmpty) { return false; }
        return await _native.ApplyAsync(transaction, stop).ConfigureAwait(false) is { } refused ? throw Failed(refused) : true;
    }

    private static FatalException NoTools(CaptureBackendKind wanted) =>
        new("iptables", $"{(wanted == CaptureBackendKind.Nftables ? "nft is not" : "neither iptables nor nft is")} installed; nothing was changed", "Install the iptables package (or nftables), then run 'vmsidecar iptables apply'");

    /// <summary>Families follow one another; where the second is refused, the first goes back to what it was, so that no half of a change stays.</summary>
    private async Task<bool> ApplyAsync(CaptureOptions options, InstalledRules chosen, CancellationToken stop)
    {
        if (!chosen.Tools.IsLegacy)
        {
            _created.Remember(s_families.SelectMany(f => IptablesProgram.For(options, f).Tables.Except(chosen.Of(f).Select(t => t.Name)).Select(t => (f, t))));
        }
        bool changed = false;
        foreach (IpFamily family in s_families)
        {
            string input = RestorePlan.Apply(IptablesProgram.For(options, family), chosen.Of(family));
            if (input.Length == 0) { continue; }
            changed = true;
            try
            {
                if (await Kernel.RestoreAsync(chosen.Tools, family, input, stop).ConfigureAwait(false) is { } refused) { throw Failed(refused); }
            }
            catch (Exception e) when (e is FatalException or OperationCanceledException)
            {
                await RollBackAsync(chosen, CancellationToken.None).ConfigureAwait(false);
                throw;
            }
        }
        return changed;
    }

    /// <summary>A restore is atomic within a table only: what earlier tables have taken goes back, to the text read before.</summary>
    private async Task RollBackAsync(InstalledRules before, CancellationToken stop)
    {
        foreach (IpFamily family in s_families)
        {
            ImmutableArray<InstalledTable> now = await Kernel.SaveAsync(before.Tools, family, stop).ConfigureAwait(false);
            string input = RestorePlan.Return(now, before.Of(family));
            if (input.Length > 0) { await Kernel.RestoreAsync(before.Tools, family, input, stop).ConfigureAwait(false); }
        }
        if (before.HasOurs) { return; }
        await _routing.CleanAsync(null, stop).ConfigureAwait(false);
        await _created.RemoveEmptyAsync(stop).ConfigureAwait(false);
    }

    private async Task<bool> CleanAsync(InstalledRules variant, CancellationToken stop)
    {
        bool changed = false;
        foreach (IpFamily family in s_families)
        {
            string input = RestorePlan.Clean(variant.Of(family));
            if (input.Length == 0) { continue; }
            changed = true;
            if (await Kernel.RestoreAsync(variant.Tools, family, input, stop).ConfigureAwait(false) is { } refused) { throw Failed(refused); }
        }
        return changed;
    }
}
