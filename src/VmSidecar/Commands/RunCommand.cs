using System.CommandLine;

using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Lifecycle;
using VmSidecar.Linux;
using VmSidecar.Logging;

namespace VmSidecar.Commands;

/// <summary><c>run</c> (alias <c>proxy</c>): the daemon. Stages: read configuration, report every mistake, open the log, run the app.</summary>
internal static partial class RunCommand
{
    private static readonly TimeSpan AddressPatience = TimeSpan.FromSeconds(30); // DHCP at boot; after that the host may well be meant to have none

    /// <summary>The verb; what System.CommandLine does not know are pilot-agent's flags, read by <see cref="CommandLineFlags"/>.</summary>
    public static Command Create(Cli cli, string name)
    {
        Option<string> root = cli.RootOption();
        var command = new Command(name, "The daemon. Takes the flags of pilot-agent proxy") { root };
        command.TreatUnmatchedTokensAsErrors = false;
        command.SetAction((parsed, stop) => RunAsync(cli, parsed.GetValue(root)!, [.. parsed.UnmatchedTokens], stop));
        return command;
    }

    /// <summary>What a running agent asks an executable that is to take its place: the same arguments, everything read, nothing started. One line of JSON, or the mistakes and 78.</summary>
    public static Command CreateCheck(Cli cli)
    {
        Option<string> root = cli.RootOption();
        var command = new Command(AgentProgram.CheckVerb, "Says whether this executable can take a running agent's place") { root };
        command.Hidden = true;
        command.TreatUnmatchedTokensAsErrors = false;
        command.SetAction(async parsed =>
        {
            if (await ReadAsync(cli, parsed.GetValue(root)!, [.. parsed.UnmatchedTokens]) is not { } start) { return (int)ExitCode.Configuration; }
            await cli.Out.WriteLineAsync(ReplacementOffer.Of(start.Options, $"{BuildVersion.Number}-{BuildVersion.Commit}").ToLine());
            return 0;
        });
        return command;
    }

    /// <summary>Everything read for a start. Null when there are mistakes, all of which have been said then.</summary>
    private static async Task<Reading?> ReadAsync(Cli cli, string root, string[] arguments)
    {
        List<ConfigError> flagErrors = [];
        var flags = CommandLineFlags.Parse(arguments, new SettingOrigin("command line"), flagErrors);
        ConfigLoad load = ConfigLoad.Read(new HostPaths(root), cli.Environment, flags, new HostNetwork());
        List<ConfigError> captureErrors = []; // the rules are put on by another process, but a mistake in them must stop the start, not loop behind it
        CheckCommand.Capture(CaptureHost.Read(new HostPaths(root), ssh: false), load.Environment, captureErrors);
        ConfigError[] errors = [.. flagErrors, .. load.Errors, .. captureErrors, .. HostChecks.Of(load, TimeProvider.System).Run()];
        if (load.Options is { } options && !errors.Any(e => e is { IsWarning: false, IsMendable: false })) { return new Reading(flags, load, options, errors); }
        foreach (ConfigError error in errors.OrderBy(e => e.IsWarning)) { await cli.Error.WriteLineAsync($"{(error.IsWarning ? "warning" : "error")}: {error}"); }
        await cli.Error.WriteLineAsync("nothing was started; 'vmsidecar check' shows every setting and its origin");
        return null;
    }

    private static async Task<int> RunAsync(Cli cli, string root, string[] arguments, CancellationToken stop)
    {
        DateTimeOffset begin = TimeProvider.System.GetUtcNow();
        if (await ReadAsync(cli, root, arguments) is not var (flags, load, options, errors)) { return (int)ExitCode.Configuration; }
        bool underSystemd = JournalStream.IsConnected(cli.Environment.GetValueOrDefault("JOURNAL_STREAM"));
        using SidecarLogging logging = SidecarLogging.Open(options.Log, underSystemd, out string? problem);
        ILogger log = logging.Factory.CreateLogger("default");
        if (problem is not null) { LogProblem(log, problem); }
        Version(log, BuildVersion.Number, BuildVersion.Commit);
        if (cli.Estate is { } estate) { TakesOver(log, estate.From); }
        if (cli.EstateProblem is { } unread) { EstateUnread(log, unread); }
        bool addressMissing = options.Node.Addresses is ["127.0.0.1", ..];
        if (!addressMissing) { Introduce(log, options, errors.Where(e => !e.IsToldLater)); }
        using var systemd = SystemdNotify.FromEnvironment(cli.Environment, Environment.ProcessId);
        var host = new SidecarHost(TimeProvider.System, logging.Factory, logging.WriteEnvoyLine, systemd, cli.Environment.GetValueOrDefault("PATH", "/usr/bin:/bin"), begin)
        {
            Program = cli.Program,
            Estate = cli.Estate,
            // Outside systemd; the unit has steps of its own.
            Capture = flags["capture"] is null or "false" ? null : CaptureVerbs.Keeper(new HostPaths(root), load.Environment, log),
            Settled = addressMissing ? startup => SettleAsync(() => ConfigLoad.Read(new HostPaths(root), cli.Environment, flags, new HostNetwork()), options, systemd, log, startup) : null,
        };
        return (int)await RunAppAsync(cli, options, host, logging, stop);
    }

    /// <summary>
    /// At boot the agent may come before the network. Names resolve already; the rest waits for an address, because a node registered under 127.0.0.1
    /// stays wrong. Then all settings are read once more, since many depend on it.
    /// </summary>
    private static async Task<SidecarOptions> SettleAsync(Func<ConfigLoad> read, SidecarOptions options, SystemdNotify systemd, ILogger log, CancellationToken startup)
    {
        NoAddressYet(log, AddressPatience);
        systemd.Status("waiting for an address of this host; DNS is served");
        bool came = await NodeAddresses.WaitAsync(new HostNetwork(), AddressPatience, TimeProvider.System, startup);
        ConfigLoad load = read();
        if (came && load.Options is { } again) { options = again; }
        Introduce(log, options, load.Errors.Where(e => e.IsWarning && !e.IsToldLater));
        return options;
    }

    private static async Task<ExitCode> RunAppAsync(Cli cli, SidecarOptions options, SidecarHost host, SidecarLogging logging, CancellationToken stop)
    {
        ILogger log = logging.Factory.CreateLogger("default");
        using var app = new SidecarApp(options, host);
        using var own = cli.Signals is null ? new Signals() : null;
        Signals signals = cli.Signals ?? own!;
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(signals.StopRequested, stop);
        CancellationToken end = ended.Token; // signals come until the process is gone, when its source is disposed already
        signals.Listen(app.Hurry, () => _ = app.ReplaceAsync(end), () => Reopen(logging, log)); // the replacement ends the app, or says why not
        ExitCode code = await app.RunAsync(end);
        if (app.LeftBehind is { } estate)
        {
            ReplaceFailed(log, await host.Program!.ReplaceAsync(estate, () => ended.IsCancellationRequested));
            return ExitCode.Fatal;
        }
        Terminated(log);
        return code;
    }

    /// <summary>All that a start reads.</summary>
    private sealed record Reading(CommandLineFlags Flags, ConfigLoad Load, SidecarOptions Options, ConfigError[] Errors);

    /// <summary>The classic agent's first lines after the version, then the warnings about settings.</summary>
    private static void Introduce(ILogger log, SidecarOptions options, IEnumerable<ConfigError> warnings)
    {
        string[] id = options.Node.Id.Split('~');
        Role(log, string.Join(' ', options.Node.Addresses), id[0], id[2], id[3]);
        foreach (ConfigError warning in warnings) { SettingWarning(log, warning.ToString()); }
        Effective(log, options.Envoy.ProxyConfig.ToJsonString());
        PilotSan(log, options.Xds.ServerName ?? options.Xds.DiscoveryAddress.Split(':')[0]);
    }

    private static void Reopen(SidecarLogging logging, ILogger log)
    {
        if (logging.Reopen() is { } problem) { ReopenFailed(log, problem); } else { Reopened(log); }
    }

    [LoggerMessage(1, LogLevel.Information, "Version {Version}-{Commit}-Clean")]
    private static partial void Version(ILogger log, string version, string commit);

    [LoggerMessage(2, LogLevel.Information, "Proxy role\tips=[{Ips}] type={Type} id={Id} domain={Domain}")]
    private static partial void Role(ILogger log, string ips, string type, string id, string domain);

    [LoggerMessage(3, LogLevel.Information, "Effective config: {Config}")]
    private static partial void Effective(ILogger log, string config);

    [LoggerMessage(5, LogLevel.Information, "Pilot SAN: [{San}]")]
    private static partial void PilotSan(ILogger log, string san);

    [LoggerMessage(6, LogLevel.Warning, "{Warning}")]
    private static partial void SettingWarning(ILogger log, string warning);

    [LoggerMessage(7, LogLevel.Warning, "{Problem}")]
    private static partial void LogProblem(ILogger log, string problem);

    [LoggerMessage(8, LogLevel.Information, "log file reopened")]
    private static partial void Reopened(ILogger log);

    [LoggerMessage(9, LogLevel.Warning, "the log file could not be reopened, the old one is kept: {Problem}")]
    private static partial void ReopenFailed(ILogger log, string problem);

    [LoggerMessage(10, LogLevel.Information, "this agent takes the place of version {Before} in the same process")]
    private static partial void TakesOver(ILogger log, string before);

    [LoggerMessage(14, LogLevel.Error, "what the agent before this one in the process has left cannot be read: {Problem}. Starting without it: its sockets are closed, its Envoy is ended and another started, a new certificate is asked for")]
    private static partial void EstateUnread(ILogger log, string problem);

    [LoggerMessage(13, LogLevel.Critical, "the new executable could not be started in this agent's place: {Problem}. Ending, so that the service manager starts it")]
    private static partial void ReplaceFailed(ILogger log, string problem);

    [LoggerMessage(11, LogLevel.Information, "Agent has successfully terminated")]
    private static partial void Terminated(ILogger log);

    [LoggerMessage(12, LogLevel.Warning, "the host has no address yet: DNS is served, everything else waits for one, at most {Patience}. Bring the network up, or set ISTIO_SVC_IP")]
    private static partial void NoAddressYet(ILogger log, TimeSpan patience);
}
