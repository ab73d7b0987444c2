using System.Collections.Immutable;
using System.CommandLine;

using VmSidecar.Configuration;
using VmSidecar.Lifecycle;

namespace VmSidecar.Commands;

/// <summary>
/// <c>check</c>: every setting with its effective value and origin, then every mistake and warning of all files and of the host. Touches nothing,
/// asks nobody over the network. Ends with 0, or 78 when there is a mistake.
/// </summary>
internal static class CheckCommand
{
    /// <summary>The verb; it takes the flags of <c>run</c>.</summary>
    public static Command Create(Cli cli)
    {
        Option<string> root = cli.RootOption();
        var command = new Command("check", "Read all configuration, print every setting with its origin and every mistake; touches nothing") { root };
        command.TreatUnmatchedTokensAsErrors = false;
        command.SetAction(async (parsed, _) => (int)await RunAsync(
            new HostPaths(parsed.GetValue(root)!), cli.Environment, [.. parsed.UnmatchedTokens], new HostNetwork(), TimeProvider.System, cli.Out));
        return command;
    }

    /// <param name="paths">Where the files are.</param>
    /// <param name="environment">The inherited environment.</param>
    /// <param name="arguments">Flags as given to <c>run</c>.</param>
    /// <param name="network">The host's network.</param>
    /// <param name="time">For validity of certificates and token.</param>
    /// <param name="output">Standard output.</param>
    public static async Task<ExitCode> RunAsync(
        HostPaths paths, IReadOnlyDictionary<string, string> environment, IReadOnlyList<string> arguments, INetworkFacts network, TimeProvider time, TextWriter output)
    {
        var flagErrors = new List<ConfigError>();
        CommandLineFlags flags = CommandLineFlags.Parse(arguments, SettingOrigin.CommandLine, flagErrors);
        ConfigLoad load = ConfigLoad.Read(paths, environment, flags, network);
        IReadOnlyList<ConfigError> host = HostChecks.Of(load, time).Run();
        var captureErrors = new List<ConfigError>();
        ImmutableArray<EffectiveSetting> capture = Capture(CaptureHost.Read(paths), load.Environment, captureErrors);
        ImmutableArray<ConfigError> all = [.. flagErrors, .. load.Errors, .. captureErrors, .. host];

        await WriteSettingsAsync([.. load.Settings.Concat(capture).DistinctBy(s => s.Name).OrderBy(s => s.Name, StringComparer.Ordinal)], output);
        ConfigError[] mistakes = [.. all.Where(e => !e.IsWarning)], warnings = [.. all.Where(e => e.IsWarning)];
        await WriteListAsync("Warnings", warnings, output);
        await WriteListAsync("Mistakes", mistakes, output);
        await output.WriteLineAsync(mistakes.Length == 0 ? $"\nOK{(warnings.Length > 0 ? ", with warnings" : "")}" : $"\n{mistakes.Length} to correct");
        return mistakes.Length == 0 ? ExitCode.Stopped : ExitCode.Configuration;
    }

    /// <summary>The capture rules read their own settings; their values and mistakes belong in the same list.</summary>
    internal static ImmutableArray<EffectiveSetting> Capture(CaptureHost host, EffectiveEnvironment environment, ICollection<ConfigError> errors)
    {
        CaptureOptions read = new CaptureOptionsReader(host, environment.ToDictionary(), errors)
        {
            Origin = name => environment.TryGet(name, out Setting setting) ? (setting.Origin.Source, setting.Origin.Line) : (SettingOrigin.Environment.Source, 0),
        }.Read(ImmutableDictionary<string, string>.Empty);
        return
        [
            .. CaptureFlag.All.SelectMany(flag => flag.Variables).Distinct().Select(name => environment.TryGet(name, out Setting setting)
                ? new EffectiveSetting(name, setting.Value, setting.Origin.ToString())
                : name == CaptureFlag.NeverCapture ? new EffectiveSetting(name, string.Join(',', read.NeverInboundPorts), "found on this host (ssh)")
                : new EffectiveSetting(name, "", SettingOrigin.Default.ToString())),
        ];
    }

    private static async Task WriteSettingsAsync(ImmutableArray<EffectiveSetting> settings, TextWriter output)
    {
        int name = Math.Min(44, settings.Max(s => s.Name.Length)), value = Math.Min(48, settings.Max(s => OneLine(s.Value).Length));
        await output.WriteLineAsync("Settings (value, origin):");
        foreach (EffectiveSetting setting in settings)
        {
            await output.WriteLineAsync($"  {setting.Name.PadRight(name)}  {OneLine(setting.Value).PadRight(value)}  {setting.Origin}");
        }
    }

    private static async Task WriteListAsync(string title, ConfigError[] errors, TextWriter output)
    {
        if (errors.Length == 0) { return; }
        await output.WriteLineAsync($"\n{title}:");
        foreach (ConfigError error in errors) { await output.WriteLineAsync($"  {OneLine(error.ToString())}"); }
    }

    private static string OneLine(string text) => text.Length == 0 ? "''" : ConsoleText.Line(text);
}
