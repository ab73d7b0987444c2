using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Iptables;

/// <summary>
/// The native back end: our table of nftables, loaded, compared and removed as a whole. nft prints rules in words of its own, so what it printed right
/// after loading is kept beside the lock, and drift is a difference to that. The note lives under /run and ends with the boot, as the rules do.
/// </summary>
internal sealed class NftablesTable(ICommandRunner runner, CaptureNotes notes)
{
    public const string Name = "nftables";

    /// <summary>What pilot-agent's own native mode leaves.</summary>
    private static readonly ImmutableArray<string> s_classic = ["inet istio-proxy-nat", "inet istio-proxy-mangle", "inet istio-proxy-raw"];

    private const string Note = "capture.nft";

    /// <summary>Why the rules that the last <see cref="ApplyAsync"/> loaded could not be noted, so that the next look takes them for changed; null: they were.</summary>
    public string? Unnoted { get; private set; }

    /// <summary>Null: done; else nft's first word on it.</summary>
    public async Task<string?> ApplyAsync(string transaction, CancellationToken stop)
    {
        notes.Reserve(Note, transaction);
        CommandResult done = await runner.RunAsync("nft", ["-f", "-"], transaction, stop).ConfigureAwait(false);
        if (!done.Succeeded) { return $"nft: {done.FirstErrorLine}"; }
        Unnoted = null;
        if (await ListAsync(stop).ConfigureAwait(false) is not { } listed) { return null; }
        try
        {
            notes.Write(Note, $"{Digest(transaction)}\n{listed}");
        }
        catch (FatalException e) // the room that was there before is gone; the rules are on
        {
            notes.Forget(Note);
            Unnoted = $"capture rules are on, but what they look like cannot be noted, so they will be taken for changed until they are applied again: {e.InnerException?.Message ?? e.Problem}";
        }
        return null;
    }

    /// <summary>Lines missing and lines too many; both empty: the kernel holds exactly this program.</summary>
    public async Task<TableDiff> DiffAsync(string transaction, CancellationToken stop)
    {
        string? listed = await ListAsync(stop).ConfigureAwait(false);
        if (listed is null) { return new(NftText.Table, ["the table"], [], []); }
        (string digest, string noted) = ReadNote();
        string[] now = Lines(listed), then = Lines(noted);
        if (digest != Digest(transaction)) { return new(NftText.Table, ["rules of these options (the table holds those of others)"], [], []); }
        ImmutableArray<string> missing = [.. then.Except(now)], extra = [.. now.Except(then)];
        return new(NftText.Table, missing, extra, missing.IsEmpty && extra.IsEmpty && !now.SequenceEqual(then) ? ["order"] : []);
    }

    /// <summary>Removes the tables of pilot-agent's native mode, and ours unless <paramref name="keepOurs"/>. True: something was there.</summary>
    public async Task<bool> CleanAsync(bool keepOurs, CancellationToken stop)
    {
        string[] present = [.. (await PresentAsync(stop).ConfigureAwait(false)).Where(t => !keepOurs || t != NftText.Table)];
        if (present.Length > 0)
        {
            CommandResult done = await runner.RunAsync("nft", ["-f", "-"], string.Concat(present.Select(t => $"delete table {t}\n")), stop).ConfigureAwait(false);
            if (!done.Succeeded) { throw new FatalException("iptables", $"nft: {done.FirstErrorLine}", $"Run 'nft delete table {present[0]}' by hand"); }
        }
        if (!keepOurs) { notes.Forget(Note); }
        return present.Length > 0;
    }

    /// <summary>Makes the table what it was.</summary>
    public async Task ReturnAsync(string? listed, CancellationToken stop)
    {
        if (listed is null) { await CleanAsync(keepOurs: false, stop).ConfigureAwait(false); return; }
        await runner.RunAsync("nft", ["-f", "-"], $"table {NftText.Table}\ndelete table {NftText.Table}\n{listed}", stop).ConfigureAwait(false);
        notes.Forget(Note); // it was of the options that are taken back: the next apply loads anew
    }

    /// <summary>
    /// Which of the tables there are, in one call. <c>list chains</c> prints their heads and reads no rule; <c>list tables</c> would read every rule of the
    /// host first, a tenth of a second where there are thousands.
    /// </summary>
    public async Task<List<string>> PresentAsync(CancellationToken stop)
    {
        CommandResult listed = await runner.RunAsync("nft", ["list", "chains", "inet"], "", stop).ConfigureAwait(false);
        return listed.Succeeded ? [.. s_classic.Add(NftText.Table).Where(t => listed.Output.Contains($"table {t} {{", StringComparison.Ordinal))] : [];
    }

    /// <summary>Our table as nft prints it, which nft can read again; null: there is none.</summary>
    public async Task<string?> ListAsync(CancellationToken stop)
    {
        CommandResult listed = await runner.RunAsync("nft", ["-s", "-n", "list", "table", .. NftText.Table.Split(' ')], "", stop).ConfigureAwait(false);
        return listed.Succeeded ? listed.Output : null;
    }

    private (string Digest, string Listed) ReadNote()
    {
        string text = notes.Read(Note);
        int end = text.IndexOf('\n', StringComparison.Ordinal);
        return end < 0 ? ("", "") : (text[..end], text[(end + 1)..]);
    }

    /// <summary>Rules with the chain they stand in, so that equal lines of two chains stay apart.</summary>
    private static string[] Lines(string listed)
    {
        string chain = "";
        var lines = new List<string>();
        foreach (string line in listed.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            if (line.StartsWith("chain ", StringComparison.Ordinal)) { chain = line.Split(' ')[1]; }
            else if (line != "}") { lines.Add($"{chain} {line}"); }
        }
        return [.. lines];
    }

    private static string Digest(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
}
