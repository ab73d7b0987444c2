using System.Collections.Immutable;

namespace VmSidecar.Configuration;

/// <summary>Reads the flags of <c>istio-iptables</c> as its own parser does: <c>--flag=value</c>, <c>--flag value</c>, <c>-pVALUE</c>, <c>-p VALUE</c>, switches with or without <c>=true</c>.</summary>
internal static class CaptureFlagParser
{
    /// <summary>Values by flag name; false with <paramref name="problem"/> in the classic words when a flag is not known.</summary>
    public static bool TryParse(IReadOnlyList<string> arguments, out ImmutableDictionary<string, string> values, out string problem)
    {
        ImmutableDictionary<string, string>.Builder found = ImmutableDictionary.CreateBuilder<string, string>();
        problem = "";
        for (int i = 0; i < arguments.Count && problem.Length == 0; i++)
        {
            string argument = arguments[i];
            string? next = i + 1 < arguments.Count ? arguments[i + 1] : null;
            (bool tookNext, problem) = argument.StartsWith("--", StringComparison.Ordinal) ? Long(argument[2..], next, found)
                : argument.StartsWith('-') && argument.Length > 1 ? Short(argument[1..], next, found)
                : (false, $"unknown command \"{argument}\"");
            if (tookNext) { i++; }
        }
        values = found.ToImmutable();
        return problem.Length == 0;
    }

    private static (bool TookNext, string Problem) Long(string text, string? next, ImmutableDictionary<string, string>.Builder found)
    {
        int equals = text.IndexOf('=', StringComparison.Ordinal);
        string name = equals < 0 ? text : text[..equals];
        if (CaptureFlag.All.FirstOrDefault(f => f.Name == name) is not { } flag) { return (false, $"unknown flag: --{name}"); }
        return Take(flag, equals < 0 ? null : text[(equals + 1)..], next, found);
    }

    private static (bool TookNext, string Problem) Short(string text, string? next, ImmutableDictionary<string, string>.Builder found)
    {
        for (int at = 0; at < text.Length; at++)
        {
            if (CaptureFlag.All.FirstOrDefault(f => f.Short == text[at]) is not { } flag) { return (false, $"unknown shorthand flag: '{text[at]}' in -{text}"); }
            if (flag.IsSwitch && !(at + 1 < text.Length && text[at + 1] == '='))
            {
                found[flag.Name] = "true";
                continue; // letters of switches may stand together
            }
            string rest = text[(at + 1)..].TrimStart('=');
            return Take(flag, at + 1 < text.Length ? rest : null, next, found);
        }
        return (false, "");
    }

    private static (bool TookNext, string Problem) Take(CaptureFlag flag, string? value, string? next, ImmutableDictionary<string, string>.Builder found)
    {
        bool fromNext = value is null && !flag.IsSwitch;
        if (fromNext && next is null) { return (false, $"flag needs an argument: --{flag.Name}"); }
        found[flag.Name] = value ?? (flag.IsSwitch ? "true" : next!);
        return (fromNext, "");
    }
}
