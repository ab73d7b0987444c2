using System.Collections.Immutable;
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

    private static readonly string[] s_address = ["::6/128", "dev", "lo"];
    private readonly Stack<string[]> _undo = new(); // arguments of ip, the last act on top; one run at a time fills and empties it

    /// <summary>The last <see cref="ApplyAsync"/> added something.</summary>
    public bool HasAdded => _undo.Count > 0;

    /// <summary>What is there of ours and of pilot-agent's.</summary>
    /// <param name="marks">Marks that the installed rules set: pilot-agent's, where it was told to use others than its default.</param>
    /// <param name="stop">Ends the wait.</param>
    public async Task<RoutingState> StateAsync(IReadOnlySet<string> marks, CancellationToken stop)
    {
        Task<ImmutableArray<RoutingRule>> v4 = RulesAsync("-4", marks, stop), v6 = RulesAsync("-6", marks, stop);
        Task<CommandResult> lo = runner.RunAsync("ip", ["-6", "-o", "addr", "show", "dev", "lo", "to", s_address[0]], "", stop);
        await Task.WhenAll(v4, v6, lo).ConfigureAwait(false);
        CommandResult address = await lo.ConfigureAwait(false);
        return new([.. await v4.ConfigureAwait(false), .. await v6.ConfigureAwait(false)], address.Succeeded && address.Output.Trim().Length > 0);
    }

    /// <summary>Adds what the options ask for and is not there. Null: done; else what went wrong, and nothing was added.</summary>
    public async Task<string?> ApplyAsync(RoutingState before, CaptureOptions options, CancellationToken stop)
    {
        _undo.Clear();
        foreach (RoutingRule rule in Wanted(options))
        {
            // The rule comes before its route and goes after it: a route is found by its rule, and a rule without one passes packets on.
            string[] route = Route(rule), words = Words(rule);
            string? problem = before.Rules.Contains(rule) ? null
                : await TryAsync([rule.Family, "rule", "add", .. words, "protocol", Tag], [rule.Family, "rule", "del", .. words], stop).ConfigureAwait(false);
            if (problem is null && !await HasRouteAsync(rule, stop).ConfigureAwait(false))
            {
                problem = await TryAsync([rule.Family, "route", "replace", .. route, "proto", Tag], [rule.Family, "route", "del", .. route], stop).ConfigureAwait(false);
            }
            if (problem is not null) { await UndoAsync().ConfigureAwait(false); return problem; }
        }
        if (!options.IPv6 || before.HasAddress) { return null; }
        string? refused = await TryAsync(["-6", "addr", "replace", .. s_address], ["-6", "addr", "del", .. s_address], stop).ConfigureAwait(false);
        if (refused is not null) { await UndoAsync().ConfigureAwait(false); }
        return refused;
    }

    /// <summary>Takes back what the last <see cref="ApplyAsync"/> added; what was there before stays. For rules that were refused afterwards.</summary>
    public async Task UndoAsync()
    {
        while (_undo.TryPop(out string[]? arguments)) { await runner.RunAsync("ip", arguments, "", CancellationToken.None).ConfigureAwait(false); }
    }

    /// <summary>Removes of <paramref name="present"/> what <paramref name="keep"/> does not ask for (null: everything). True if something was there.</summary>
    public async Task<bool> CleanAsync(RoutingState present, CaptureOptions? keep, CancellationToken stop)
    {
        RoutingRule[] wanted = keep is null ? [] : Wanted(keep), obsolete = [.. present.Rules.Except(wanted)];
        foreach (RoutingRule rule in obsolete)
        {
            bool isShared = wanted.Any(w => w.Family == rule.Family && w.Table == rule.Table);
            if (!isShared) { await runner.RunAsync("ip", [rule.Family, "route", "del", .. Route(rule)], "", stop).ConfigureAwait(false); }
            await runner.RunAsync("ip", [rule.Family, "rule", "del", .. Words(rule)], "", stop).ConfigureAwait(false);
        }
        if (keep is { IPv6: true } || !present.HasAddress) { return obsolete.Length > 0; }
        await runner.RunAsync("ip", ["-6", "addr", "del", .. s_address], "", stop).ConfigureAwait(false);
        return true;
    }

    /// <summary>Makes <paramref name="present"/> what was there <paramref name="before"/>.</summary>
    public async Task ReturnAsync(RoutingState present, RoutingState before, CancellationToken stop)
    {
        await CleanAsync(new([.. present.Rules.Except(before.Rules)], present.HasAddress && !before.HasAddress), null, stop).ConfigureAwait(false);
        foreach (RoutingRule rule in before.Rules)
        {
            if (!present.Rules.Contains(rule)) { await runner.RunAsync("ip", [rule.Family, "rule", "add", .. Words(rule), "protocol", Tag], "", stop).ConfigureAwait(false); }
            await runner.RunAsync("ip", [rule.Family, "route", "replace", .. Route(rule), "proto", Tag], "", stop).ConfigureAwait(false);
        }
        if (before.HasAddress) { await runner.RunAsync("ip", ["-6", "addr", "replace", .. s_address], "", stop).ConfigureAwait(false); }
    }

    /// <summary>How the kernel differs from what the options ask for: without its route, a marked packet goes nowhere.</summary>
    public async Task<TableDiff> DiffAsync(RoutingState present, CaptureOptions options, CancellationToken stop)
    {
        RoutingRule[] wanted = Wanted(options);
        List<string> missing = [.. wanted.Except(present.Rules).Select(r => $"ip {r.Family} rule {string.Join(' ', Words(r))}")];
        foreach (RoutingRule rule in wanted)
        {
            if (!await HasRouteAsync(rule, stop).ConfigureAwait(false)) { missing.Add($"ip {rule.Family} route {string.Join(' ', Route(rule))}"); }
        }
        if (options.IPv6 && !present.HasAddress) { missing.Add($"ip -6 addr {string.Join(' ', s_address)}"); }
        List<string> extra = [.. present.Rules.Except(wanted).Select(r => $"ip {r.Family} rule {string.Join(' ', Words(r))}")];
        if (!options.IPv6 && present.HasAddress) { extra.Add($"ip -6 addr {string.Join(' ', s_address)}"); }
        return new("routing", [.. missing], [.. extra], []);
    }

    private static RoutingRule[] Wanted(CaptureOptions options)
    {
        if (!options.Tproxy) { return []; }
        string mark = "0x" + options.TproxyMark.ToString("x", CultureInfo.InvariantCulture), table = options.TproxyTable.ToString(CultureInfo.InvariantCulture);
        // 1.10 gives IPv6 plain redirection even in TPROXY mode.
        return options.IPv6 && InboundRules.UsesTproxy(options, IpFamily.V6)
            ? [new("-4", Priority, mark, table), new("-6", Priority, mark, table)] : [new("-4", Priority, mark, table)];
    }

    private static string[] Words(RoutingRule rule) => ["pref", rule.Priority, "fwmark", rule.Mark, "lookup", rule.Table];

    private static string[] Route(RoutingRule rule) => ["local", "default", "dev", "lo", "table", rule.Table];

    private async Task<string?> TryAsync(string[] act, string[] undo, CancellationToken stop)
    {
        CommandResult done = await runner.RunAsync("ip", act, "", stop).ConfigureAwait(false);
        if (!done.Succeeded) { return $"ip {string.Join(' ', act)}: {done.FirstErrorLine}"; }
        _undo.Push(undo);
        return null;
    }

    private async Task<bool> HasRouteAsync(RoutingRule rule, CancellationToken stop)
    {
        CommandResult listed = await runner.RunAsync("ip", [rule.Family, "route", "show", "table", rule.Table, "type", "local"], "", stop).ConfigureAwait(false);
        return listed.Succeeded && listed.Output.Contains("default dev lo", StringComparison.Ordinal);
    }

    private async Task<ImmutableArray<RoutingRule>> RulesAsync(string family, IReadOnlySet<string> marks, CancellationToken stop)
    {
        CommandResult listed = await runner.RunAsync("ip", [family, "-d", "-j", "rule", "list"], "", stop).ConfigureAwait(false);
        return listed.Succeeded ? [.. Ours(family, listed.Output, marks)] : [];
    }

    /// <summary>Rules with our tag, and unmarked ones of the classic shape or of a mark the rules set.</summary>
    internal static IEnumerable<RoutingRule> Ours(string family, string json, IReadOnlySet<string> marks)
    {
        foreach (JsonObject rule in (JsonText.Parse(json) as JsonArray ?? []).OfType<JsonObject>())
        {
            string mark = rule["fwmark"]?.ToString() ?? "", table = rule["table"]?.ToString() ?? "", protocol = rule["protocol"]?.ToString() ?? "";
            if (mark.Length > 0 && (protocol == Tag || (mark == ClassicMark && table == ClassicTable) || marks.Contains(mark)))
            {
                yield return new(family, rule["priority"]?.ToString() ?? "", mark, table);
            }
        }
    }
}
