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
    private readonly CaptureNotes _notes = new(stateFolder);
    private readonly CreatedTables _created = new(new(stateFolder), runner);
    private readonly NftablesTable _native = new(runner, new(stateFolder));

    /// <summary>Reads and loads iptables' tables.</summary>
    public IptablesKernel Kernel { get; init; } = new(runner);

    /// <summary>Told what the operator ought to know though nothing failed.</summary>
    public Action<string> Advise { get; init; } = _ => { };

    /// <summary>Installs the options' rules, in place of any of ours. True: something changed.</summary>
    public async Task<bool> ApplyAsync(CaptureOptions options, CancellationToken stop)
    {
        using CaptureLock held = await LockAsync(stop).ConfigureAwait(false);
        // An ssh server seen once stays one: who looks next may be allowed to see less of the host, or sshd may just be restarting.
        _notes.Write(SshPorts.Note, string.Join('\n', options.NeverInboundPorts));
        ImmutableArray<InstalledRules> variants = await Kernel.InspectAsync(stop).ConfigureAwait(false);
        InstalledRules? chosen = Choose(options, variants);
        if (FirewallAdvice.For(options, variants) is { } advice) { Advise(advice); }
        // 1. Routes before the rules that send packets there.
        RoutingState routing = await _routing.StateAsync(Marks(variants), stop).ConfigureAwait(false);
        if (await _routing.ApplyAsync(routing, options, stop).ConfigureAwait(false) is { } problem) { throw Failed(problem); }
        // 2. The rules.
        bool changed = _routing.HasAdded;
        try
        {
            changed |= chosen is null ? await ApplyNativeAsync(options, stop).ConfigureAwait(false) : await ApplyAsync(options, chosen, stop).ConfigureAwait(false);
        }
        catch (Exception e) when (e is FatalException or OperationCanceledException)
        {
            await _routing.UndoAsync().ConfigureAwait(false);
            throw;
        }
        // 3. Only now what of ours stands in other back ends: a host is never without, and where this run was refused it keeps what it had.
        foreach (InstalledRules other in variants.Where(v => v != chosen && v.HasOurs)) { changed |= await CleanAsync(other, stop).ConfigureAwait(false); }
        changed |= await _native.CleanAsync(keepOurs: chosen is null, stop).ConfigureAwait(false);
        // 4. And the routes that no rule needs any more.
        return changed | await _routing.CleanAsync(routing, options, stop).ConfigureAwait(false);
    }

    /// <summary>Removes every rule of ours from all back ends. True: something was there.</summary>
    public async Task<bool> CleanAsync(CancellationToken stop)
    {
        using CaptureLock? held = await LockIfPossibleAsync(stop).ConfigureAwait(false);
        bool changed = await _native.CleanAsync(keepOurs: false, stop).ConfigureAwait(false);
        ImmutableArray<InstalledRules> variants = await Kernel.InspectAsync(stop).ConfigureAwait(false);
        RoutingState routing = await _routing.StateAsync(Marks(variants), stop).ConfigureAwait(false); // asked for while the rules still say their marks
        foreach (InstalledRules variant in variants) { changed |= await CleanAsync(variant, stop).ConfigureAwait(false); }
        changed |= await _routing.CleanAsync(routing, null, stop).ConfigureAwait(false);
        await _created.RemoveEmptyAsync(stop).ConfigureAwait(false);
        _notes.Forget(SshPorts.Note);
        return changed;
    }

    /// <summary>What stands there now, for <see cref="ReturnAsync"/>.</summary>
    public async Task<RuleSnapshot> SnapshotAsync(CancellationToken stop)
    {
        ImmutableArray<InstalledRules> variants = await Kernel.InspectAsync(stop).ConfigureAwait(false);
        return new(variants, await _native.ListAsync(stop).ConfigureAwait(false), await _routing.StateAsync(Marks(variants), stop).ConfigureAwait(false));
    }

    /// <summary>Takes back every change since <paramref name="before"/>: nothing of ours, or what was there.</summary>
    public async Task ReturnAsync(RuleSnapshot before, CancellationToken stop)
    {
        if (!before.HasOurs) { await CleanAsync(stop).ConfigureAwait(false); return; }
        using CaptureLock? held = await LockIfPossibleAsync(stop).ConfigureAwait(false);
        await _native.ReturnAsync(before.Native, stop).ConfigureAwait(false);
        RoutingState now = await _routing.StateAsync(Marks(before.Variants), stop).ConfigureAwait(false);
        await _routing.ReturnAsync(now, before.Routing, stop).ConfigureAwait(false);
        foreach (InstalledRules variant in before.Variants) { await RollBackAsync(variant, stop).ConfigureAwait(false); }
    }

    /// <summary>How the kernel differs from the program, both families, and the back end looked at.</summary>
    public async Task<(string Backend, ImmutableArray<(IpFamily Family, TableDiff Diff)> Tables)> DiffAsync(CaptureOptions options, CancellationToken stop)
    {
        ImmutableArray<InstalledRules> variants = await Kernel.InspectAsync(stop).ConfigureAwait(false);
        InstalledRules? chosen = Choose(options, variants);
        var diffs = ImmutableArray.CreateBuilder<(IpFamily, TableDiff)>();
        TableDiff routing = await _routing.DiffAsync(await _routing.StateAsync(Marks(variants), stop).ConfigureAwait(false), options, stop).ConfigureAwait(false);
        if (!routing.IsEmpty) { diffs.Add((IpFamily.V4, routing)); }
        // What of ours stands in another back end catches packets a second time.
        foreach (InstalledRules other in variants.Where(v => v != chosen && v.HasOurs))
        {
            foreach (IpFamily family in s_families) { diffs.AddRange(other.Of(family).Where(t => !t.Owned.IsEmpty).Select(t => (family, TableDiff.Extras($"{other.Tools.Name} {t.Name}", t.Owned)))); }
        }
        if (chosen is null)
        {
            TableDiff native = await _native.DiffAsync(Transaction(options), stop).ConfigureAwait(false);
            if (!native.IsEmpty) { diffs.Add((IpFamily.V4, native)); }
            return (NftablesTable.Name, diffs.ToImmutable());
        }
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

    /// <summary>The marks that TPROXY rules in the kernel set, whoever put them there.</summary>
    private static HashSet<string> Marks(ImmutableArray<InstalledRules> variants) =>
    [
        .. from variant in variants
           from table in variant.V4.Concat(variant.V6)
           from rule in table.Owned.Inside
           where rule.Chain == IptablesProgram.Chains.Divert && rule.After("--set-xmark") is not null
           select rule.After("--set-xmark")!.Split('/')[0],
    ];

    private async Task<CaptureLock> LockAsync(CancellationToken stop)
    {
        try
        {
            return await CaptureLock.TakeAsync(stateFolder, s_patience, time, stop).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw CaptureNotes.Unwritable(stateFolder, e);
        }
    }

    /// <summary>Getting rid of rules needs no file: a host whose disk is full or read-only must get free of them all the same.</summary>
    private async Task<CaptureLock?> LockIfPossibleAsync(CancellationToken stop)
    {
        try
        {
            return await CaptureLock.TakeAsync(stateFolder, s_patience, time, stop).ConfigureAwait(false);
        }
        catch (UnauthorizedAccessException e) when (!Environment.IsPrivilegedProcess)
        {
            throw CaptureNotes.Unwritable(stateFolder, e); // nor may this user change rules: nft shows it none, which is not to say that there are none
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Advise($"{stateFolder} cannot be written ({e.Message.TrimEnd('.')}): going on without the lock that keeps two runs apart");
            return null;
        }
    }

    private static FatalException Failed(string problem) => new("iptables", problem, RefusalAdvice.For(problem));

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
        if (await _native.ApplyAsync(transaction, stop).ConfigureAwait(false) is { } refused) { throw Failed(refused); }
        if (_native.Unnoted is { } why) { Advise(why); }
        return true;
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
        if (!before.HasOurs) { await _created.RemoveEmptyAsync(stop).ConfigureAwait(false); }
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
