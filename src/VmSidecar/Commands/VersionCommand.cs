using System.CommandLine;

namespace VmSidecar.Commands;

/// <summary><c>version</c>: our own words, or the classic agent's three forms when called by its name or with <c>-o</c>.</summary>
internal static class VersionCommand
{
    public static Command Create(Cli cli)
    {
        var isShort = new Option<bool>("--short", "-s") { Description = "Only the number" };
        var output = new Option<string?>("--output", "-o") { Description = "json or yaml" };
        output.AcceptOnlyFromAmong("json", "yaml");
        var command = new Command("version", "Version, commit, runtime, protocol versions") { isShort, output };
        command.SetAction(parsed => cli.Out.WriteLine(Text(cli, parsed.GetValue(isShort), parsed.GetValue(output))));
        return command;
    }

    private static string Text(Cli cli, bool isShort, string? form)
    {
        string number = BuildVersion.Number, commit = BuildVersion.Commit;
        if (form == "json")
        {
            return $$"""
                {
                  "clientVersion": {
                    "version": "{{number}}",
                    "revision": "{{commit}}",
                    "golang_version": "",
                    "status": "Clean",
                    "tag": "{{number}}"
                  }
                }
                """;
        }
        if (form == "yaml") { return $"clientVersion:\n  golang_version: \"\"\n  revision: {commit}\n  status: Clean\n  tag: {number}\n  version: {number}"; }
        if (cli.CalledAs == "pilot-agent")
        {
            return isShort ? number : $"version.BuildInfo{{Version:\"{number}\", GitRevision:\"{commit}\", GolangVersion:\"\", BuildStatus:\"Clean\", GitTag:\"{number}\"}}";
        }
        return isShort ? number : $"vmsidecar {number} ({commit})\n{BuildVersion.Runtime}\n{BuildVersion.Protocols}";
    }
}
