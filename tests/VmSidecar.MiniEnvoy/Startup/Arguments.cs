using System.Collections.Immutable;
using System.Globalization;

namespace VmSidecar.MiniEnvoy.Startup;

/// <summary>What Envoy's command line said. Both the arguments of 1.10's agent and of today's are known; any other is an error, as in Envoy.</summary>
internal sealed record Arguments
{
    private static readonly ImmutableHashSet<string> Flags =
        ["--disable-hot-restart", "--allow-unknown-static-fields", "--skip-deprecated-logs", "--enable-core-dump", "--reject-unknown-dynamic-fields",
         "--ignore-unknown-dynamic-fields", "--log-format-escaped", "--enable-fine-grain-logging", "--cpuset-threads", "--use-dynamic-base-id", "--version", "--help"];

    private static readonly ImmutableHashSet<string> Values =
        ["--config-path", "--config-yaml", "--restart-epoch", "--drain-time-s", "--drain-strategy", "--parent-shutdown-time-s", "--service-cluster", "--service-node",
         "--service-zone", "--local-address-ip-version", "--bootstrap-version", "--log-format", "--log-level", "--component-log-level", "--concurrency", "--mode",
         "--file-flush-interval-msec", "--file-flush-min-size-kb", "--base-id", "--log-path", "--admin-address-path", "--disable-extensions", "--stats-tag"];

    public string ConfigPath { get; init; } = "";
    public string ConfigYaml { get; init; } = "";
    public string LogLevel { get; init; } = "info";
    public string? LogFormat { get; init; }
    public string Mode { get; init; } = "serve";
    public int DrainSeconds { get; init; } = 600;
    public int Concurrency { get; init; } = Environment.ProcessorCount;
    public bool AllowUnknownStaticFields { get; init; }
    public bool Version { get; init; }
    public ImmutableDictionary<string, string> All { get; init; } = ImmutableDictionary<string, string>.Empty;

    /// <summary>False and a message of Envoy's kind when an argument is unknown, lacks its value or has a bad one.</summary>
    public static bool TryParse(IReadOnlyList<string> args, out Arguments parsed, out string error)
    {
        parsed = new Arguments();
        error = "";
        var all = new Dictionary<string, string>();
        for (int i = 0; i < args.Count; i++)
        {
            string name = args[i] switch { "-c" => "--config-path", "-l" => "--log-level", string other => other };
            string? inline = null;
            if (name.StartsWith("--", StringComparison.Ordinal) && name.IndexOf('=', StringComparison.Ordinal) is var equals and > 0)
            {
                (name, inline) = (name[..equals], name[(equals + 1)..]);
            }
            if (Flags.Contains(name)) { all[name] = "true"; }
            else if (!Values.Contains(name)) { error = $"PARSE ERROR: Argument: {args[i]}\n             Couldn't find match for argument"; return false; }
            else if (inline is not null) { all[name] = inline; }
            else if (i + 1 >= args.Count) { error = $"PARSE ERROR: Argument: {args[i]}\n             Missing a value for this argument!"; return false; }
            else { all[name] = args[++i]; }
        }
        return TryRead(all, ref parsed, out error);
    }

    private static bool TryRead(Dictionary<string, string> all, ref Arguments parsed, out string error)
    {
        error = "";
        string Text(string name, string fallback) => all.GetValueOrDefault(name, fallback);
        if (!TryNumber(Text("--drain-time-s", "600"), out int drain)) { error = "error: invalid value for --drain-time-s"; return false; }
        if (!TryNumber(Text("--concurrency", "2"), out int concurrency)) { error = "error: invalid value for --concurrency"; return false; }
        if (Text("--bootstrap-version", "3") != "3") { error = "error: unknown bootstrap version"; return false; }
        string level = Text("--log-level", "info");
        if (!Observed.EnvoyLog.Levels.Contains(level)) { error = $"error: invalid log level specified '{level}'"; return false; }
        if (Text("--local-address-ip-version", "v4") is not ("v4" or "v6")) { error = "error: unknown IP address version"; return false; }
        if (Text("--drain-strategy", "gradual") is not ("gradual" or "immediate")) { error = "error: unknown drain-strategy"; return false; }
        string mode = Text("--mode", "serve");
        if (mode is not ("serve" or "validate" or "init_only")) { error = $"error: unknown mode '{mode}'"; return false; }
        parsed = new Arguments
        {
            ConfigPath = Text("--config-path", ""), ConfigYaml = Text("--config-yaml", ""), LogLevel = level, LogFormat = all.GetValueOrDefault("--log-format"), Mode = mode,
            DrainSeconds = drain, Concurrency = concurrency, AllowUnknownStaticFields = all.ContainsKey("--allow-unknown-static-fields"),
            Version = all.ContainsKey("--version"), All = all.ToImmutableDictionary(),
        };
        return true;
    }

    private static bool TryNumber(string text, out int number) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number);
}
