using System.Globalization;
using System.Text.Json.Nodes;

using VmSidecar.Configuration;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Commands.Doctor;

/// <summary>The rules in the kernel are those that should be there.</summary>
internal sealed class RulesCheck : IDoctorCheck
{
    private static readonly (string Kind, string Words)[] s_kinds = [("missing", "missing"), ("extra", "too many"), ("disordered", "out of order"), ("behind", "behind rules of others")];

    public string Code => "RUL001";

    public string Title => "capture rules";

    public IReadOnlyList<string> Needs => ["CFG001", "AGT001"];

    public async Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        if (context.InAdvance) { return Finding.Skip("they come with the agent"); }
        if (!Environment.IsPrivilegedProcess) { return Finding.Skip("only root may read them: use sudo"); }
        using StringWriter shown = new(CultureInfo.InvariantCulture), said = new(CultureInfo.InvariantCulture);
        var verbs = new IptablesCommand(new CommandRunner(TimeSpan.FromSeconds(10), context.Time), context.Paths, context.Load.Environment.ToDictionary(), shown, said);
        int code = await verbs.RunAsync(["diff", "--json"], stop);
        return code switch
        {
            0 => Finding.Ok("as they should be"),
            IptablesCommand.Drifted => Finding.Fail($"they differ from what was asked: {Summary(JsonText.Parse(shown.ToString()))}", "Run 'vmsidecar iptables diff' to see all, 'vmsidecar iptables apply' to mend"),
            _ => Finding.Fail(FirstLine(said), "Run 'vmsidecar iptables diff'"),
        };
    }

    /// <summary>What <c>iptables diff --json</c> found, in one line: how many rules, and the first of them. Pure.</summary>
    internal static string Summary(JsonNode? diff)
    {
        var parts = new List<string>();
        string first = "";
        JsonObject[] tables = diff?["tables"] is JsonArray all ? [.. all.OfType<JsonObject>()] : [];
        foreach ((string kind, string words) in s_kinds)
        {
            (string Where, string Rule)[] rules = [.. tables.SelectMany(t => ((t[kind] as JsonArray) ?? []).Select(r => ($"{t["family"]} {t["table"]}", r?.ToString() ?? "")))];
            if (rules.Length == 0) { continue; }
            parts.Add($"{rules.Length} {words}");
            if (first.Length == 0) { first = $"; the first: {rules[0].Where} {rules[0].Rule}"; }
        }
        return string.Join(", ", parts) + first;
    }

    private static string FirstLine(StringWriter text) => text.ToString().Split('\n').FirstOrDefault(l => l.Length > 0) ?? "";
}
