using Microsoft.Extensions.Logging;

namespace VmSidecar.Configuration;

/// <summary>Reads <see cref="LogOptions"/>: <c>--log_output_level</c>, <c>--log_target</c>, <c>--log_as_json</c> and ISTIO_LOG_DIR.</summary>
internal static class LogSettings
{
    public static LogOptions Read(SettingReader settings, HostPaths paths)
    {
        LogLevel level = LogLevel.Information;
        var scopes = new Dictionary<string, LogLevel> { ["grpc"] = LogLevel.None };
        foreach (string item in settings.Flag("log_output_level", "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            int colon = item.IndexOf(':', StringComparison.Ordinal);
            string scope = colon < 0 ? "default" : item[..colon];
            if (LevelOf(item[(colon + 1)..]) is not { } parsed)
            {
                settings.Flags.Values.TryGetValue("log_output_level", out Setting setting);
                settings.Mistake("--log_output_level", setting with { Value = item }, "is not scope:level", "Use levels debug, info, warn, error, fatal or none", 0);
                continue;
            }
            if (scope is "default" or "all") { level = parsed; }
            if (scope == "all") { scopes.Clear(); }
            if (scope is not ("default" or "all")) { scopes[scope] = parsed; }
        }
        (string? file, bool console) = Target(settings, paths);
        return new(file, IsJson(settings), level, [.. scopes], console);
    }

    public static bool IsJson(SettingReader settings)
    {
        string text = settings.Flag("log_as_json", "false");
        if (GoValue.TryBool(text, out bool json)) { return json; }
        settings.Flags.Values.TryGetValue("log_as_json", out Setting setting);
        return settings.Mistake("--log_as_json", setting, "is not a boolean", "Use true or false", false);
    }

    private static (string? File, bool Console) Target(SettingReader settings, HostPaths paths)
    {
        string folder = settings.NonEmptyText("ISTIO_LOG_DIR", "/var/log/istio");
        string usual = paths.At(Path.Combine(folder, "istio.log"));
        string[] targets = settings.Flag("log_target", "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        if (targets.Length == 0) { return (usual, true); }
        string? file = targets.FirstOrDefault(t => t is not ("stdout" or "stderr"));
        return (file is null ? null : paths.At(file), file is null || targets.Length > 1);
    }

    private static LogLevel? LevelOf(string name) => name switch
    {
        "debug" => LogLevel.Debug,
        "info" => LogLevel.Information,
        "warn" or "warning" => LogLevel.Warning,
        "error" => LogLevel.Error,
        "fatal" => LogLevel.Critical,
        "none" => LogLevel.None,
        _ => null,
    };
}
