using System.Text;
using System.Text.Json.Nodes;

namespace VmSidecar.Commands.Doctor;

/// <summary>Shows diagnoses to a person or a program. Pure.</summary>
internal static class DoctorReport
{
    /// <summary>True when nothing failed.</summary>
    public static bool IsWell(IReadOnlyList<Diagnosis> all) => !all.Any(d => d.Finding.Outcome is Outcome.Failed or Outcome.NotReached);

    /// <summary>One line a check; under a failure its fix; at the end the first cause.</summary>
    public static string Text(IReadOnlyList<Diagnosis> all)
    {
        var text = new StringBuilder();
        foreach ((string code, string title, Finding finding) in all)
        {
            text.Append(Mark(finding.Outcome)).Append(' ').Append(code).Append("  ").Append(title.PadRight(22)).Append(ConsoleText.Line(finding.Cause)).Append('\n');
            if (finding.Fix.Length > 0) { text.Append("               ").Append("-> ").Append(ConsoleText.Line(finding.Fix)).Append('\n'); }
        }
        Diagnosis? first = all.FirstOrDefault(d => d.Finding.Outcome == Outcome.Failed);
        text.Append(first is null ? "\nall is well" : $"\nstart with {first.Code}: {ConsoleText.Line($"{first.Finding.Cause}. {first.Finding.Fix}")}");
        return text.ToString();
    }

    /// <summary>The same as a JSON object.</summary>
    public static JsonObject Json(IReadOnlyList<Diagnosis> all) => new()
    {
        ["well"] = IsWell(all),
        ["checks"] = new JsonArray([.. all.Select(d => (JsonNode)new JsonObject
        {
            ["code"] = d.Code,
            ["title"] = d.Title,
            ["outcome"] = d.Finding.Outcome switch
            {
                Outcome.Ok => "ok",
                Outcome.Warning => "warning",
                Outcome.Failed => "failed",
                Outcome.Skipped => "skipped",
                _ => "not-reached",
            },
            ["cause"] = d.Finding.Cause,
            ["fix"] = d.Finding.Fix,
        })]),
    };

    private static string Mark(Outcome outcome) => outcome switch
    {
        Outcome.Ok => "ok  ",
        Outcome.Warning => "warn",
        Outcome.Failed => "FAIL",
        Outcome.Skipped => "-   ",
        _ => "... ",
    };
}
