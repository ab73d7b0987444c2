using System.Globalization;
using VmSidecar.Configuration;

namespace VmSidecar.Commands;

/// <summary>The flags of <c>vmsidecar iptables</c> that are no inputs of the rules, taken out of the command line; the rest goes to the classic parser.</summary>
/// <param name="Rest">For the classic parser.</param>
/// <param name="Confirm">How long an Enter is waited for; null: no confirmation asked.</param>
/// <param name="Interval">Between two looks of <c>watch</c>.</param>
/// <param name="Repair">Put drifted rules right.</param>
/// <param name="FailOpen">Null: as the settings say.</param>
/// <param name="DeadLimit">Null: as the settings say.</param>
/// <param name="Json">Results and mistakes as JSON.</param>
internal sealed record OwnFlags(IReadOnlyList<string> Rest, TimeSpan? Confirm, TimeSpan Interval, bool Repair, bool? FailOpen, TimeSpan? DeadLimit, bool Json)
{
    private static readonly string[] s_valued = ["--confirm", "--interval", "--failure-mode", "--dead-limit"];

    public static bool TryTake(IReadOnlyList<string> arguments, out OwnFlags flags, out string problem)
    {
        var rest = new List<string>();
        flags = new(rest, null, CaptureWatchOptions.Default.Interval, false, null, null, false);
        problem = "";
        for (int i = 0; i < arguments.Count; i++)
        {
            string[] parts = arguments[i].Split('=', 2);
            if (arguments[i] == "--repair") { flags = flags with { Repair = true }; continue; }
            if (arguments[i] == "--json") { flags = flags with { Json = true }; continue; }
            if (!s_valued.Contains(parts[0])) { rest.Add(arguments[i]); continue; }
            string? value = parts.Length > 1 ? parts[1] : i + 1 < arguments.Count ? arguments[++i] : null;
            if (value is null) { problem = $"flag needs an argument: {parts[0]}"; return false; }
            if (!TryTake(parts[0], value, ref flags)) { problem = $"invalid argument \"{value}\" for {parts[0]}"; return false; }
        }
        return true;
    }

    /// <summary>How to watch: these flags over the settings.</summary>
    public CaptureWatchOptions Watch(CaptureOptions options) => new(Interval, Repair, FailOpen ?? options.FailOpen, DeadLimit ?? options.DeadLimit);

    private static bool TryTake(string name, string value, ref OwnFlags flags)
    {
        if (name == "--failure-mode")
        {
            flags = flags with { FailOpen = value == "open" };
            return value is "open" or "closed";
        }
        if (!int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int seconds) || seconds is < 1 or > 86_400) { return false; }
        var length = TimeSpan.FromSeconds(seconds);
        flags = name switch
        {
            "--confirm" => flags with { Confirm = length },
            "--interval" => flags with { Interval = length },
            _ => flags with { DeadLimit = length },
        };
        return true;
    }
}
