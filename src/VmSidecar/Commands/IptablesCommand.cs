using System.Collections.Immutable;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using VmSidecar.Configuration;
using VmSidecar.Iptables;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Commands;

/// <summary>
/// The verbs <c>iptables apply | clean | show | diff | watch</c>, and the classic <c>istio-iptables</c> and <c>istio-clean-iptables</c>. Decides exit codes and words;
/// <see cref="IptablesRunner"/> does the work.
/// </summary>
/// <param name="commands">Runs the tools.</param>
/// <param name="paths">Where resolv.conf and the state are.</param>
/// <param name="environment">cluster.env over sidecar.env over the inherited environment.</param>
/// <param name="output">For results.</param>
/// <param name="error">For mistakes and failures.</param>
internal sealed class IptablesCommand(ICommandRunner commands, HostPaths paths, IReadOnlyDictionary<string, string> environment, TextWriter output, TextWriter error)
{
    /// <summary>diff: the kernel does not hold what it should.</summary>
    public const int Drifted = 1;

    /// <summary>The classic command's code for <c>--run-validation</c>: the rules are there and do not work.</summary>
    public const int NotValid = 126;

    public TimeProvider Time { get; init; } = TimeProvider.System;

    public Func<CaptureHost>? Host { get; init; }

    /// <summary>Where a variable was set, for messages.</summary>
    public Func<string, (string File, int Line)> Origin { get; init; } = _ => ("environment", 0);

    /// <summary>The next line of whoever sits at the terminal, for <c>--confirm</c>; null: nobody does.</summary>
    public Func<string?> ReadLine { get; init; } = () => null;

    /// <summary>Whether Envoy accepts connections, for <c>watch</c>; null: ask its port.</summary>
    public Func<CancellationToken, Task<bool>>? IsServed { get; init; }

    public ILogger Log { get; init; } = NullLogger.Instance;

    private IptablesRunner Runner => new(commands, paths.At("run/vmsidecar"), Time) { Advise = words => error.WriteLine($"note: {words}") };

    /// <summary><c>iptables VERB [flags]</c>; the flags are istio-iptables' and <c>--json</c>.</summary>
    public Task<int> RunAsync(IReadOnlyList<string> arguments, CancellationToken stop)
    {
        string verb = arguments.Count > 0 ? arguments[0] : "";
        if (!OwnFlags.TryTake([.. arguments.Skip(1)], out OwnFlags own, out string problem))
        {
            error.WriteLine($"Error: {problem}; see 'vmsidecar iptables --help'");
            return Task.FromResult((int)ExitCode.CommandFailed);
        }
        IReadOnlyList<string> flags = own.Rest;
        bool json = own.Json;
        return verb switch
        {
            "apply" when own.Confirm is { } patience => GuardAsync(flags, options => ConfirmAsync(options, patience, json, stop), json),
            "watch" => GuardAsync(flags, options => WatchAsync(() => options = Reread(flags, options), own.Watch(options), stop), json),
            "apply" => GuardAsync(flags, options => ApplyAsync(options, json, stop), json),
            "clean" => GuardAsync(flags, options => CleanAsync(options, json, stop), json, cleaning: true),
            "show" => GuardAsync(flags, options => Task.FromResult(Show(options, json)), json),
            "diff" => GuardAsync(flags, options => DiffAsync(options, json, stop), json),
            _ => Task.FromResult(Usage()),
        };
    }

    /// <summary><c>istio-iptables</c>, with <c>--cleanup-only</c> and <c>--dry-run</c>.</summary>
    public Task<int> RunClassicAsync(IReadOnlyList<string> arguments, CancellationToken stop) => GuardAsync(arguments, options =>
        options.CleanupOnly ? CleanAsync(options, json: false, stop)
        : options.DryRun || (options.SkipApply && !options.RunValidation) ? Task.FromResult(DryRun(options))
        : ApplyAsync(options, json: false, stop), json: false);

    /// <summary><c>istio-clean-iptables</c>.</summary>
    public Task<int> RunClassicCleanAsync(IReadOnlyList<string> arguments, CancellationToken stop) =>
        GuardAsync(arguments, options => options.DryRun ? DryCleanAsync(json: false, stop) : CleanAsync(options, json: false, stop), json: false, cleaning: true);

    private int Usage()
    {
        error.WriteLine("usage: vmsidecar iptables apply|clean|show|diff|watch [flags]; 'vmsidecar iptables --help' explains them");
        return (int)ExitCode.CommandFailed;
    }

    private async Task<int> GuardAsync(IReadOnlyList<string> arguments, Func<CaptureOptions, Task<int>> act, bool json, bool cleaning = false)
    {
        if (!CaptureFlagParser.TryParse(arguments, out ImmutableDictionary<string, string> flags, out string problem))
        {
            await error.WriteLineAsync($"Error: {problem}").ConfigureAwait(false);
            return (int)ExitCode.CommandFailed;
        }
        var mistakes = new List<ConfigError>();
        CaptureOptions options = Read(flags, mistakes);
        if (options.CustomRules)
        {
            Say(json, "nothing", changed: false, "ISTIO_CUSTOM_IP_TABLES=true: the rules are the operator's, nothing done");
            return 0;
        }
        // Cleaning asks nothing of the options: a host must get rid of rules also when its configuration has gone bad.
        if (json && !cleaning && mistakes.Any(m => !m.IsWarning)) { await output.WriteLineAsync(ConsoleJson.Line(CaptureText.Mistakes(mistakes))).ConfigureAwait(false); }
        foreach (ConfigError mistake in cleaning || options.CleanupOnly ? [] : mistakes) { await error.WriteLineAsync(mistake.ToString()).ConfigureAwait(false); }
        if (!cleaning && !options.CleanupOnly && mistakes.Any(m => !m.IsWarning)) { return (int)ExitCode.Configuration; }
        try
        {
            return await act(options).ConfigureAwait(false);
        }
        catch (FatalException e)
        {
            if (json) { await output.WriteLineAsync(ConsoleJson.Line(new JsonObject { ["error"] = e.Problem, ["fix"] = e.Fix })).ConfigureAwait(false); }
            await error.WriteLineAsync(e.Message).ConfigureAwait(false);
            return (int)ExitCode.Fatal;
        }
        catch (OperationCanceledException)
        {
            await error.WriteLineAsync("interrupted").ConfigureAwait(false);
            return (int)ExitCode.Fatal;
        }
    }

    private CaptureOptions Read(ImmutableDictionary<string, string> flags, List<ConfigError> mistakes) =>
        new CaptureOptionsReader((Host ?? (() => CaptureHost.Read(paths)))(), environment, mistakes) { Origin = Origin }.Read(flags);

    /// <summary>The host may have changed since: above all its resolvers (DHCP, VPN). Where it makes no sense just now, the last options stay.</summary>
    private CaptureOptions Reread(IReadOnlyList<string> arguments, CaptureOptions last)
    {
        var mistakes = new List<ConfigError>();
        if (!CaptureFlagParser.TryParse(arguments, out ImmutableDictionary<string, string> flags, out _)) { return last; }
        CaptureOptions now = Read(flags, mistakes);
        if (mistakes.Any(m => !m.IsWarning) || (last.RedirectDns && !now.RedirectDns)) { return last; }
        // An ssh server that is just restarting is still one.
        return now with { NeverInboundPorts = [.. last.NeverInboundPorts.Union(now.NeverInboundPorts)] };
    }

    private async Task<int> ApplyAsync(CaptureOptions options, bool json, CancellationToken stop)
    {
        bool changed = !options.SkipApply && await Runner.ApplyAsync(options, stop).ConfigureAwait(false);
        if (options.RunValidation && await new CaptureProbe(options, Time).RunAsync(stop).ConfigureAwait(false) is { } failure)
        {
            if (json) { await output.WriteLineAsync(ConsoleJson.Line(new JsonObject { ["act"] = "applied", ["changed"] = changed, ["validation"] = failure })).ConfigureAwait(false); }
            await error.WriteLineAsync($"validation failed: {failure}").ConfigureAwait(false);
            return NotValid;
        }
        if (CapturesNothing(options)) { await error.WriteLineAsync("note: these rules capture nothing: no inbound port, no destination and no names are set (ISTIO_INBOUND_PORTS, ISTIO_SERVICE_CIDR, ISTIO_META_DNS_CAPTURE). Is cluster.env in its place? See 'vmsidecar check'").ConfigureAwait(false); }
        Say(json, "applied", changed, changed ? "capture rules are in place" : "capture rules are in place already, nothing to do");
        return 0;
    }

    /// <summary>
    /// For people on ssh: takes the rules back unless a line comes within <paramref name="patience"/>. A connection the rules have cut brings no line; a
    /// terminal that hangs up ends <paramref name="stop"/>, which takes them back too.
    /// </summary>
    private async Task<int> ConfirmAsync(CaptureOptions options, TimeSpan patience, bool json, CancellationToken stop)
    {
        RuleSnapshot before = await Runner.SnapshotAsync(stop).ConfigureAwait(false);
        bool confirmed = false;
        try
        {
            await Runner.ApplyAsync(options, stop).ConfigureAwait(false);
            Say(json, "applied", changed: true, $"capture rules are in place; press Enter within {patience.TotalSeconds:0} s to keep them");
            Task<string?> line = Task.Run(ReadLine, CancellationToken.None); // a terminal's read cannot be cancelled; it ends with the process
            await Task.WhenAny(line, Task.Delay(patience, Time, stop)).ConfigureAwait(false);
            confirmed = line.IsCompletedSuccessfully && await line.ConfigureAwait(false) is not null;
        }
        finally
        {
            if (!confirmed) { await Runner.ReturnAsync(before, CancellationToken.None).ConfigureAwait(false); }
        }
        Say(json, confirmed ? "kept" : "returned", confirmed, confirmed ? "kept" : "not confirmed: the rules are what they were before");
        return confirmed ? 0 : (int)ExitCode.Fatal;
    }

    /// <summary>Stays and keeps an eye on the rules; privileged, beside the daemon. Ends with <paramref name="stop"/> and leaves the rules as they are.</summary>
    private async Task<int> WatchAsync(Func<CaptureOptions> options, CaptureWatchOptions watch, CancellationToken stop)
    {
        await new CaptureWatch(Runner, options, watch, Time, Log) { IsServed = IsServed }.RunAsync(stop).ConfigureAwait(false);
        return 0;
    }

    private async Task<int> CleanAsync(CaptureOptions options, bool json, CancellationToken stop)
    {
        if (options.DryRun) { return await DryCleanAsync(json, stop).ConfigureAwait(false); }
        bool changed = await Runner.CleanAsync(stop).ConfigureAwait(false);
        Say(json, "cleaned", changed, changed ? "capture rules are removed" : "no capture rules found, nothing to do");
        return 0;
    }

    private static bool CapturesNothing(CaptureOptions o) => o is { AllInboundPorts: false, AllOutboundCidrs: false, RedirectDns: false, InboundPorts.IsEmpty: true, OutboundCidrs.IsEmpty: true, OutboundPorts.IsEmpty: true };

    private void Say(bool json, string act, bool changed, string words) =>
        output.WriteLine(json ? ConsoleJson.Line(new JsonObject { ["act"] = act, ["changed"] = changed }) : words);

    private async Task<int> DryCleanAsync(bool json, CancellationToken stop)
    {
        (string Tool, string Input)[] calls =
        [
            .. from variant in await Runner.Kernel.InspectAsync(stop).ConfigureAwait(false)
               from family in new[] { IpFamily.V4, IpFamily.V6 }
               let input = RestorePlan.Clean(variant.Of(family))
               where input.Length > 0
               select (variant.Tools.Restore(family), input),
        ];
        if (json) { await output.WriteLineAsync(ConsoleJson.Line(new JsonArray([.. calls.Select(c => (JsonNode)new JsonObject { ["tool"] = c.Tool, ["input"] = c.Input })]))).ConfigureAwait(false); }
        foreach ((string tool, string input) in json ? [] : calls) { await output.WriteAsync($"# {tool} --noflush\n{input}").ConfigureAwait(false); }
        return 0;
    }

    /// <summary>DRY_RUN_FILE_PATH receives the input of the tools too, as with the classic command.</summary>
    private int DryRun(CaptureOptions options)
    {
        if (environment.GetValueOrDefault("DRY_RUN_FILE_PATH") is { Length: > 0 } path)
        {
            try
            {
                File.WriteAllText(path, string.Concat(new[] { IpFamily.V4, IpFamily.V6 }.Select(f => ClassicText.Restore(IptablesProgram.For(options, f)))));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new FatalException("iptables", $"DRY_RUN_FILE_PATH {path} cannot be written: {e.Message.TrimEnd('.')}", "Name a file in a folder that can be written", e);
            }
        }
        output.Write(ClassicText.DryRun(options, environment));
        return 0;
    }

    private int Show(CaptureOptions options, bool json)
    {
        output.Write(json ? ConsoleJson.Line(CaptureText.Rules(options)) + "\n" : CaptureText.Show(options));
        return 0;
    }

    private async Task<int> DiffAsync(CaptureOptions options, bool json, CancellationToken stop)
    {
        (string backend, ImmutableArray<(IpFamily Family, TableDiff Diff)> tables) = await Runner.DiffAsync(options, stop).ConfigureAwait(false);
        if (json)
        {
            await output.WriteLineAsync(ConsoleJson.Line(CaptureText.Diff(backend, tables))).ConfigureAwait(false);
            return tables.IsEmpty ? 0 : Drifted;
        }
        foreach ((IpFamily family, TableDiff diff) in tables)
        {
            await output.WriteLineAsync($"{(family == IpFamily.V4 ? "ipv4" : "ipv6")} {diff}").ConfigureAwait(false);
        }
        if (tables.IsEmpty) { await output.WriteLineAsync($"the rules in {backend} are as they should be").ConfigureAwait(false); }
        return tables.IsEmpty ? 0 : Drifted;
    }
}
