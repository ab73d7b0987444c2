using System.Collections.Immutable;
using System.Globalization;

namespace VmSidecar.MiniEnvoy.Observed;

/// <summary>Log lines in Envoy's format on standard error. Thread-safe; the level can change while running.</summary>
internal sealed class EnvoyLog(TextWriter output, string level, string? format)
{
    public static readonly ImmutableArray<string> Levels = ["trace", "debug", "info", "warning", "warn", "error", "critical", "off"];

    private const string DefaultFormat = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v";
    private readonly Lock _gate = new();
    private volatile string _level = level;

    public string Level { get => _level; set => _level = value; }

    public void Write(string lineLevel, string component, string message)
    {
        if (Rank(lineLevel) < Rank(_level)) { return; }
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        string line = (format ?? DefaultFormat)
            .Replace("%Y-%m-%d", now.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture), StringComparison.Ordinal)
            .Replace("%T", now.ToString("HH:mm:ss", CultureInfo.InvariantCulture), StringComparison.Ordinal)
            .Replace("%f", now.ToString("ffffff", CultureInfo.InvariantCulture), StringComparison.Ordinal)
            .Replace("%e", now.ToString("fff", CultureInfo.InvariantCulture), StringComparison.Ordinal)
            .Replace("%l", lineLevel, StringComparison.Ordinal).Replace("%n", component, StringComparison.Ordinal)
            .Replace("%g", "mini/" + component, StringComparison.Ordinal).Replace("%#", "1", StringComparison.Ordinal)
            .Replace("%t", Environment.ProcessId.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal)
            .Replace("%v", message, StringComparison.Ordinal).Replace("%j", message, StringComparison.Ordinal);
        lock (_gate)
        {
            output.WriteLine(line);
            output.Flush();
        }
    }

    private static int Rank(string level) => level switch { "trace" => 0, "debug" => 1, "info" => 2, "warning" or "warn" => 3, "error" => 4, "critical" => 5, _ => 6 };
}
