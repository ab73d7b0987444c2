using VmSidecar.Linux.Processes;

namespace VmSidecar.Iptables;

/// <summary>
/// Remembers which nf_tables tables exist only because a first rule of ours made iptables create them, so that clean leaves the host as it was:
/// an empty table would still show in <c>iptables-save</c>. The note is under /run: it ends with the boot, as the tables do.
/// </summary>
internal sealed class CreatedTables(CaptureNotes notes, ICommandRunner runner)
{
    private const string Note = "capture.tables";

    /// <summary>Written before the rules: a kill in between leaves a note about tables that do not exist, which is harmless.</summary>
    public void Remember(IEnumerable<(IpFamily Family, string Table)> absent)
    {
        string[] lines = [.. Read().Union(absent.Select(t => $"{(t.Family == IpFamily.V4 ? "ip" : "ip6")} {t.Table}"))];
        if (lines.Length > 0) { notes.Write(Note, string.Join('\n', lines)); }
    }

    /// <summary>Deletes those that hold nothing, and forgets them all: what others have put there since keeps the table.</summary>
    public async Task RemoveEmptyAsync(CancellationToken stop)
    {
        foreach (string line in Read())
        {
            if (line.Split(' ') is not [("ip" or "ip6") and var family, ("nat" or "mangle" or "raw") and var table]) { continue; }
            CommandResult listed = await runner.RunAsync("nft", ["list", "table", family, table], "", stop).ConfigureAwait(false);
            if (listed.Succeeded && IsEmpty(listed.Output)) { await runner.RunAsync("nft", ["delete", "table", family, table], "", stop).ConfigureAwait(false); }
        }
        notes.Forget(Note);
    }

    /// <summary>Nothing but base chains that accept.</summary>
    internal static bool IsEmpty(string listed) => listed.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
        .All(l => l is "}" || l.StartsWith("table ", StringComparison.Ordinal) || l.StartsWith("# ", StringComparison.Ordinal)
            || (l.StartsWith("chain ", StringComparison.Ordinal) && l.EndsWith('{'))
            || (l.StartsWith("type ", StringComparison.Ordinal) && l.EndsWith("policy accept;", StringComparison.Ordinal)));

    private string[] Read() => notes.Read(Note).Split('\n', StringSplitOptions.RemoveEmptyEntries);
}
