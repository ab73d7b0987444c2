using System.Globalization;

using VmSidecar.Linux.Processes;

namespace VmSidecar.Commands.Doctor;

/// <summary>The rules in the kernel are those that should be there.</summary>
internal sealed class RulesCheck : IDoctorCheck
{
    public string Code => "RUL001";

    public string Title => "capture rules";

    public IReadOnlyList<string> Needs => ["CFG001", "AGT001"];

    public async Task<Finding> RunAsync(DoctorContext context, CancellationToken stop)
    {
        if (context.InAdvance) { return Finding.Skip("they come with the agent"); }
        if (!Environment.IsPrivilegedProcess) { return Finding.Skip("only root may read them: use sudo"); }
        using StringWriter shown = new(CultureInfo.InvariantCulture), said = new(CultureInfo.InvariantCulture);
        var verbs = new IptablesCommand(new CommandRunner(TimeSpan.FromSeconds(10), context.Time), context.Paths, context.Load.Environment.ToDictionary(), shown, said);
        int code = await verbs.RunAsync(["diff"], stop);
        return code switch
        {
            0 => Finding.Ok("as they should be"),
            IptablesCommand.Drifted => Finding.Fail($"they differ from what was asked: {FirstLine(shown)}", "Run 'vmsidecar iptables diff' to see all, 'vmsidecar iptables apply' to mend"),
            _ => Finding.Fail(FirstLine(said), "Run 'vmsidecar iptables diff'"),
        };
    }

    private static string FirstLine(StringWriter text) => text.ToString().Split('\n').FirstOrDefault(l => l.Length > 0) ?? "";
}
