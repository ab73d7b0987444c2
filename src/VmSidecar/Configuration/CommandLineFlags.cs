using System.Collections.Frozen;
using System.Collections.Immutable;

namespace VmSidecar.Configuration;

/// <summary>
/// The flags of <c>pilot-agent proxy</c> and our own, from the command line and from <c>ISTIO_AGENT_FLAGS</c>. Unknown flags are reported as
/// warnings: the classic agent ignores them silently, which hides misspellings.
/// </summary>
/// <param name="Values">Value by flag name without dashes.</param>
/// <param name="ProxyType">The positional word; <c>sidecar</c> by default.</param>
internal sealed record CommandLineFlags(ImmutableDictionary<string, Setting> Values, string? ProxyType = null)
{
    private const string Boolean = "true"; // value of a switch given without one

    public static CommandLineFlags None { get; } = new(ImmutableDictionary<string, Setting>.Empty);

    private static readonly FrozenSet<string> s_switches = FrozenSet.Create("profiling", "log_as_json", "capture", "vip-tcp");

    private static readonly FrozenSet<string> s_valued = FrozenSet.Create(
        "concurrency", "domain", "meshConfig", "outlierLogPath", "proxyLogLevel", "proxyComponentLogLevel", "serviceCluster", "stsPort",
        "templateFile", "tokenManagerPlugin", "log_output_level", "log_stacktrace_level", "log_caller", "log_target", "log_rotate",
        "log_rotate_max_age", "log_rotate_max_backups", "log_rotate_max_size", "vklog", "root", "dns-compat");

    /// <summary>Reads <c>--name=value</c>, <c>--name value</c>, switches, and one bare word. <paramref name="origin"/> is noted on each value.</summary>
    public static CommandLineFlags Parse(IReadOnlyList<string> arguments, SettingOrigin origin, ICollection<ConfigError> errors)
    {
        ImmutableDictionary<string, Setting>.Builder values = ImmutableDictionary.CreateBuilder<string, Setting>();
        string? type = null;
        for (int i = 0; i < arguments.Count; i++)
        {
            string argument = arguments[i];
            if (!argument.StartsWith('-') || argument is "-" or "--") { type ??= argument; continue; }
            string name = argument.TrimStart('-');
            int equals = name.IndexOf('=', StringComparison.Ordinal);
            string? value = equals < 0 ? null : name[(equals + 1)..];
            name = equals < 0 ? name : name[..equals];
            bool hasNext = i + 1 < arguments.Count && !arguments[i + 1].StartsWith('-');
            if (s_switches.Contains(name)) { values[name] = new(value ?? Boolean, origin); continue; }
            if (value is null && hasNext) { value = arguments[++i]; } // an unknown flag, too, takes the next word, as the classic parser does
            if (!s_valued.Contains(name)) { errors.Add(Unknown(name, origin)); continue; }
            if (value is null) { errors.Add(new(origin.Source, origin.Line, $"--{name}", "has no value", $"Write --{name}=VALUE")); continue; }
            values[name] = new(name == "log_target" && values.TryGetValue(name, out Setting other) ? $"{other.Value},{value}" : value, origin);
        }
        return new(values.ToImmutable(), type);
    }

    /// <summary>These flags, and those of <paramref name="lower"/> where these say nothing.</summary>
    public CommandLineFlags Over(CommandLineFlags lower) => new(lower.Values.SetItems(Values), ProxyType ?? lower.ProxyType);

    /// <summary>The flag's value, or null.</summary>
    public string? this[string name] => Values.TryGetValue(name, out Setting found) ? found.Value : null;

    private static ConfigError Unknown(string name, SettingOrigin origin)
    {
        string? near = s_valued.Concat(s_switches).FirstOrDefault(known => string.Equals(known.Replace("_", "", StringComparison.Ordinal), name.Replace("-", "", StringComparison.Ordinal), StringComparison.OrdinalIgnoreCase));
        return new(origin.Source, origin.Line, $"--{name}", "is not a flag of the agent; it is ignored", near is null ? "Remove it" : $"Write --{near}", IsWarning: true);
    }
}
