using System.Globalization;
using VmSidecar.Configuration;

namespace VmSidecar.Commands;

/// <summary>The flags of <c>vmsidecar iptables</c> that are no inputs of the rules, taken out of the command line; the rest goes to the classic parser.</summary>
internal sealed record OwnFlags(IReadOnlyList<string> Rest, TimeSpan? Confirm, CaptureWatchOptions Watch)
{
    private static readonly string[] s_valued = ["--confirm", "--interval", "--failure-mode", "--dead-limit"];

    public static bool TryTake(IReadOnlyList<string> arguments, out OwnFlags flags, out string problem)
    {
        var rest = new List<string>();
        flags = new(rest, null, CaptureWatchOptions.Default);
        problem = "";
        for (int i = 0; i < arguments.Count; i++)
        {
            string[] parts = arguments[i].Split('=', 2);
            if (parts[0] == "--repair") { flags = flags with { Watch = flags.Watch with { Repair = true } }; continue; }
            if (!s_valued.Contains(parts[0])) { rest.Add(arguments[i]); continue; }
            string? value = parts.Length > 1 ? parts[1] : i + 1 < arguments.Count ? arguments[++i] : null;
            if (value is null) { problem = $"flag needs an argument: {parts[0]}"; return false; }
            if (!TryTake(parts[0], value, ref flags)) { problem = $"invalid argument \"{value}\" for {parts[0]}"; return false; }
        }
        return true;
    }

    private static bool TryTake(string name, string value, ref OwnFlags flags)
    {
        if (name == "--failure-mode")
        {
            flags = flags with { Watch = flags.Watch with { FailOpen = value == "open" } };
            return value is "open" or "closed";
        }
        if (!int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int seconds) || seconds is < 1 or > 86_400) { return false; }
        var length = TimeSpan.FromSeconds(seconds);
        flags = name switch
        {
            "--confirm" => flags with { Confirm = length },
            "--interval" => flags with { Watch = flags.Watch with { Interval = length } },
            _ => flags with { Watch = flags.Watch with { DeadLimit = length } },
        };
        return true;
    }
}
