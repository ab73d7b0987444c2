using Microsoft.Extensions.Logging;

using VmSidecar.Linux.Processes;
using VmSidecar.Logging;

namespace VmSidecar.Envoy;

/// <summary>Says why Envoy ended: in full the first time, then once a minute while it keeps failing in the same way. Owned by EnvoySupervisor.</summary>
internal sealed class ExitReporter(TimeProvider time, ILogger log)
{
    private static readonly TimeSpan Quiet = TimeSpan.FromMinutes(1);
    private string _lastCause = "";
    private long _lastTold;

    /// <summary>Reports one unasked end.</summary>
    /// <param name="exit">How.</param>
    /// <param name="lived">How long it ran.</param>
    /// <param name="words">What it said last.</param>
    /// <param name="failures">Ends in a row, this one included.</param>
    /// <param name="delay">Until the next start.</param>
    public void Ended(ChildExit exit, TimeSpan lived, LastWords words, int failures, TimeSpan delay)
    {
        string cause = words.Explain();
        string kind = $"{exit}: {WithoutTime(words)}";
        if (failures > 1 && kind == _lastCause)
        {
            if (time.GetElapsedTime(_lastTold) < Quiet) { return; }
            EnvoyLog.StillFailing(log, failures, exit.ToString(), GoDuration.Format(delay), cause);
        }
        else
        {
            if (exit.IsNormal) { EnvoyLog.ExitedNormally(log); }
            else
            {
                if (exit.IsKilled) { EnvoyLog.MaybeOutOfMemory(log); }
                EnvoyLog.ExitedWithError(log, exit.ToString());
            }
            EnvoyLog.Restarting(log, GoDuration.Format(Round(lived)), GoDuration.Format(Round(delay)), cause);
        }
        _lastCause = kind;
        _lastTold = time.GetTimestamp();
    }

    /// <summary>The last line from its first space-separated word that is no timestamp on: two failures with the same reason differ in the time only.</summary>
    private static string WithoutTime(LastWords words)
    {
        if (words.Lines is not [.., string last]) { return ""; }
        int blank = last.IndexOf(' ', StringComparison.Ordinal);
        return blank > 0 && char.IsAsciiDigit(last[0]) ? last[blank..] : last;
    }

    private static TimeSpan Round(TimeSpan value) => TimeSpan.FromMilliseconds(Math.Round(value.TotalMilliseconds));
}
