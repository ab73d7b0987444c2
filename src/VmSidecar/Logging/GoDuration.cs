using System.Globalization;

namespace VmSidecar.Logging;

/// <summary>Durations in the text form of the classic agent: <c>1h2m3.5s</c>, <c>170.549629ms</c>, <c>36µs</c>, <c>0s</c>.</summary>
internal static class GoDuration
{
    /// <summary>Formats with the precision of a tick (100 ns); trailing zeros of the fraction are trimmed.</summary>
    public static string Format(TimeSpan value)
    {
        if (value == TimeSpan.Zero) { return "0s"; }
        string sign = value < TimeSpan.Zero ? "-" : "";
        decimal ticks = Math.Abs((decimal)value.Ticks);
        if (ticks < TimeSpan.TicksPerMillisecond) { return sign + Number(ticks / 10) + "µs"; }
        if (ticks < TimeSpan.TicksPerSecond) { return sign + Number(ticks / TimeSpan.TicksPerMillisecond) + "ms"; }
        decimal seconds = ticks / TimeSpan.TicksPerSecond;
        long minutes = (long)(seconds / 60);
        string tail = Number(seconds - minutes * 60) + "s";
        if (minutes == 0) { return sign + tail; }
        return minutes < 60
            ? string.Create(CultureInfo.InvariantCulture, $"{sign}{minutes}m{tail}")
            : string.Create(CultureInfo.InvariantCulture, $"{sign}{minutes / 60}h{minutes % 60}m{tail}");
    }

    private static string Number(decimal value) => value.ToString("0.#########", CultureInfo.InvariantCulture);
}
