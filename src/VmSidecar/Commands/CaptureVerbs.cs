using System.CommandLine;

using VmSidecar.Configuration;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Commands;

/// <summary>Puts <see cref="IptablesCommand"/> on the command line: <c>iptables VERB</c> and the classic <c>istio-iptables</c>, <c>istio-clean-iptables</c>. All flags pass through to it.</summary>
internal static class CaptureVerbs
{
    public static IEnumerable<Command> Create(Cli cli) =>
    [
        PassThrough(cli, "iptables", "Capture rules: apply, clean, show, diff, watch", (verbs, arguments, stop) => verbs.RunAsync(arguments, stop)),
        PassThrough(cli, "istio-iptables", "Classic: program the capture rules", (verbs, arguments, stop) => verbs.RunClassicAsync(arguments, stop)),
        PassThrough(cli, "istio-clean-iptables", "Classic: remove the capture rules", (verbs, arguments, stop) => verbs.RunClassicCleanAsync(arguments, stop)),
    ];

    private static Command PassThrough(Cli cli, string name, string description, Func<IptablesCommand, IReadOnlyList<string>, CancellationToken, Task<int>> act)
    {
        Option<string> root = cli.RootOption();
        var command = new Command(name, description) { root };
        command.TreatUnmatchedTokensAsErrors = false;
        command.SetAction((parsed, stop) => act(Make(cli, parsed.GetValue(root)!), [.. parsed.UnmatchedTokens], stop));
        return command;
    }

    /// <summary>Rules are programmed from the same files as the daemon reads; a mistake elsewhere in them does not stop it.</summary>
    private static IptablesCommand Make(Cli cli, string root)
    {
        var paths = new HostPaths(root);
        List<ConfigError> errors = [];
        EffectiveEnvironment environment = EffectiveEnvironment.Load(paths, cli.Environment, errors);
        return new IptablesCommand(new CommandRunner(TimeSpan.FromSeconds(60), TimeProvider.System), paths, environment.ToDictionary(), cli.Out, cli.Error)
        {
            Origin = name => environment.TryGet(name, out Setting setting) ? (setting.Origin.Source, setting.Origin.Line) : ("environment", 0),
        };
    }
}
