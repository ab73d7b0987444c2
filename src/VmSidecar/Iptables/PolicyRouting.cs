using System.Globalization;
using System.Text.Json.Nodes;
using VmSidecar.Configuration;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Iptables;

/// <summary>
/// What TPROXY and IPv6 need beside the rules: marked packets are routed to this host, and lo has the address Envoy calls the application from.
/// Added once however often it is asked for; removed from what is there: what carries our protocol number, and what pilot-agent leaves.
/// </summary>
internal sealed class PolicyRouting(ICommandRunner runner)
{
    /// <summary>Tags our rule and route in the kernel, as rtnetlink lets every routing program do. Shown as <c>proto 133</c>.</summary>
    private const string Tag = "133";

    private const string Priority = "13300"; // fixed, so that a second apply finds the first; before the main table
    private const string ClassicMark = "0x539";
    private const string ClassicTable = "133";

    /// <summary>Null: done; else what went wrong.</summary>
    public async Task<string?> ApplyAsync(CaptureOptions options, CancellationToken stop)
    {
        foreach (string family in options.IPv6 ? new[] { "-4", "-6" } : ["-4"])
        {
            if (options.Tproxy && await AddAsync(family, options, stop).ConfigureAwait(false) is { } problem) { return problem; }
        }
        if (!options.IPv6) { return null; }
        CommandResult address = await runner.RunAsync("ip", ["-6", "addr", "replace", "::6/128", "dev", "lo"], "", stop).ConfigureAwait(false);
        return address.Succeeded ? null : $"ip -6 addr replace ::6/128 dev lo: {address.FirstErrorLine}";
    }

    /// <summary>Removes what <paramref name="keep"/> does not ask for (null: everything). True if something was there.</summary>
    public async Task<bool> CleanAsync(CaptureOptions? keep, CancellationToken stop)
    {
        bool changed = false;
        foreach (string family in new[] { "-4", "-6" })
        {
            if (keep is { Tproxy: true } && (family == "-4" || keep.IPv6)) { continue; }
            foreach ((string priority, string mark, string table) in await OursAsync(family, stop).ConfigureAwait(false))
            {
                changed = true;
                await runner.RunAsync("ip", [family, "rule", "del", "pref", priority, "fwmark", mark, "lookup", table], "", stop).ConfigureAwait(false);
                await runner.RunAsync("ip", [family, "route", "del", "local", "default", "dev", "lo", "table", table], "", stop).ConfigureAwait(false);
            }
        }
        if (keep is { IPv6: true }) { return changed; }
        CommandResult lo = await runner.RunAsync("ip", ["-6", "-o", "addr", "show", "dev", "lo", "to", "::6/128"], "", stop).ConfigureAwait(false);
        if (!lo.Succeeded || lo.Output.Trim().Length == 0) { return changed; }
        await runner.RunAsync("ip", ["-6", "addr", "del", "::6/128", "dev", "lo"], "", stop).ConfigureAwait(false);
        return true;
    }

    private async Task<string?> AddAsync(string family, CaptureOptions options, CancellationToken stop)
    {
        string mark = "0x" + options.TproxyMark.ToString("x", CultureInfo.InvariantCulture), table = options.TproxyTable.ToString(CultureInfo.InvariantCulture);
        CommandResult route = await runner.RunAsync("ip", [family, "route", "replace", "local", "default", "dev", "lo", "table", table, "proto", Tag], "", stop).ConfigureAwait(false);
        if (!route.Succeeded) { return $"ip {family} route replace local default dev lo table {table}: {route.FirstErrorLine}"; }
        if ((await OursAsync(family, stop).ConfigureAwait(false)).Contains((Priority, mark, table))) { return null; }
        CommandResult rule = await runner.RunAsync("ip", [family, "rule", "add", "pref", Priority, "fwmark", mark, "lookup", table, "protocol", Tag], "", stop).ConfigureAwait(false);
        return rule.Succeeded ? null : $"ip {family} rule add fwmark {mark} lookup {table}: {rule.FirstErrorLine}";
    }

    private async Task<List<(string Priority, string Mark, string Table)>> OursAsync(string family, CancellationToken stop)
    {
        CommandResult listed = await runner.RunAsync("ip", [family, "-d", "-j", "rule", "list"], "", stop).ConfigureAwait(false);
        return listed.Succeeded ? [.. Ours(listed.Output)] : [];
    }

    /// <summary>Rules with our tag, and unmarked ones of the classic shape.</summary>
    internal static IEnumerable<(string Priority, string Mark, string Table)> Ours(string json)
    {
        foreach (JsonObject rule in (JsonText.Parse(json) as JsonArray ?? []).OfType<JsonObject>())
        {
            string mark = rule["fwmark"]?.ToString() ?? "", table = rule["table"]?.ToString() ?? "", protocol = rule["protocol"]?.ToString() ?? "";
            if (mark.Length > 0 && (protocol == Tag || (mark == ClassicMark && table == ClassicTable))) { yield return (rule["priority"]?.ToString() ?? "", mark, table); }
        }
    }
}
