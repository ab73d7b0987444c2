using System.Collections.Immutable;
using System.CommandLine;
using System.Runtime.InteropServices;

using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Iptables;
using VmSidecar.Lifecycle;
using VmSidecar.Linux;
using VmSidecar.Linux.Processes;
using VmSidecar.Logging;

namespace VmSidecar.Commands;

/// <summary>Puts <see cref="IptablesCommand"/> on the command line: <c>iptables VERB</c> and the classic <c>istio-iptables</c>, <c>istio-clean-iptables</c>. All flags pass through to it.</summary>
internal static class CaptureVerbs
{
    /// <summary>What <c>watch</c> says goes to standard output, for the journal of its own unit; the log file belongs to the daemon.</summary>
    private static readonly LogOptions s_log = new(File: null, Json: false, LogLevel.Information, [], Console: true);

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
        if (name == "iptables") { command.Add(new System.CommandLine.Help.HelpOption { Action = new CaptureHelp() }); }
        command.SetAction((parsed, stop) => RunAsync(cli, parsed.GetValue(root)!, [.. parsed.UnmatchedTokens], act, stop));
        return command;
    }

    /// <summary>A signal ends the verb in order: a change under way is taken back or left whole, an unconfirmed one is taken back, also when the terminal hangs up.</summary>
    private static async Task<int> RunAsync(Cli cli, string root, string[] arguments, Func<IptablesCommand, IReadOnlyList<string>, CancellationToken, Task<int>> act, CancellationToken stop)
    {
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(stop);
        void End(PosixSignalContext signal) { signal.Cancel = true; ended.Cancel(); }
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, End), terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, End),
            hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, End);
        using SidecarLogging logging = SidecarLogging.Open(s_log, JournalStream.IsConnected(cli.Environment.GetValueOrDefault("JOURNAL_STREAM")), out _);
        return await act(Make(cli, root, logging), arguments, ended.Token);
    }

    /// <summary>The component of <c>run --capture</c>. Settings are those of the start; the host is read anew at each look.</summary>
    public static Func<Func<CancellationToken, Task>, IComponent> Keeper(HostPaths paths, EffectiveEnvironment environment, ILogger log)
    {
        Dictionary<string, string> variables = new(environment.ToDictionary());
        CaptureOptions? last = null;
        CaptureOptions Read()
        {
            var mistakes = new List<ConfigError>();
            CaptureOptions now = new CaptureOptionsReader(CaptureHost.Read(paths), variables, mistakes).Read(ImmutableDictionary<string, string>.Empty);
            bool isGood = mistakes.All(m => m.IsWarning) && (now.RedirectDns || last is not { RedirectDns: true });
            return last = last is null || isGood ? now : last;
        }
        CaptureOptions first = Read();
        var runner = new IptablesRunner(new CommandRunner(TimeSpan.FromSeconds(60), TimeProvider.System), paths.At("run/vmsidecar"), TimeProvider.System) { Advise = words => CaptureLog.Advice(log, words) };
        var watch = CaptureWatchOptions.For(repair: true, first.FailOpen, first.DeadLimit);
        return ready => new CaptureKeeper(runner, Read, watch, ready, TimeProvider.System, log);
    }

    /// <summary>Rules are programmed from the same files as the daemon reads; a mistake elsewhere in them does not stop it.</summary>
    private static IptablesCommand Make(Cli cli, string root, SidecarLogging logging)
    {
        var paths = new HostPaths(root);
        EffectiveEnvironment environment = ConfigLoad.Read(paths, cli.Environment, CommandLineFlags.None, new HostNetwork()).Environment;
        return new IptablesCommand(new CommandRunner(TimeSpan.FromSeconds(60), TimeProvider.System), paths, environment.ToDictionary(), cli.Out, cli.Error)
        {
            ReadLine = cli.ReadLine,
            Log = logging.Factory.CreateLogger("default"),
            Origin = name => environment.TryGet(name, out Setting setting) ? (setting.Origin.Source, setting.Origin.Line) : ("environment", 0),
        };
    }
}
