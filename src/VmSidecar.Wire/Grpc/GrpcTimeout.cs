using System.Globalization;

namespace VmSidecar.Wire.Grpc;

/// <summary>The value of <c>grpc-timeout</c>: at most eight digits and one unit (H M S m u n).</summary>
internal static class GrpcTimeout
{
    private const long Most = 99_999_999; // eight digits

    /// <summary>The value in the finest unit that fits, rounded up so that the peer never gives up before we do.</summary>
    public static string Format(TimeSpan timeout)
    {
        if (timeout <= TimeSpan.Zero) { return "1n"; }
        foreach ((char unit, long ticks) in Units)
        {
            long count = (timeout.Ticks / ticks) + (timeout.Ticks % ticks == 0 ? 0 : 1);
            if (count <= Most) { return string.Create(CultureInfo.InvariantCulture, $"{count}{unit}"); }
        }
        return "99999999H";
    }

    /// <summary>False when the text is not a timeout. Nanoseconds are rounded up to 100 ns; what exceeds TimeSpan becomes its maximum.</summary>
    public static bool TryParse(string? text, out TimeSpan timeout)
    {
        timeout = TimeSpan.Zero;
        if (text is not { Length: >= 2 and <= 9 }) { return false; }
        if (!long.TryParse(text.AsSpan(0, text.Length - 1), NumberStyles.None, CultureInfo.InvariantCulture, out long count)) { return false; }
        if (text[^1] == 'n')
        {
            timeout = TimeSpan.FromTicks((count + 99) / 100);
            return true;
        }
        foreach ((char unit, long ticks) in Units)
        {
            if (unit != text[^1]) { continue; }
            timeout = count > TimeSpan.MaxValue.Ticks / ticks ? TimeSpan.MaxValue : TimeSpan.FromTicks(count * ticks);
            return true;
        }
        return false;
    }

    private static readonly (char Unit, long Ticks)[] Units =
    [
        ('u', TimeSpan.TicksPerMicrosecond), ('m', TimeSpan.TicksPerMillisecond), ('S', TimeSpan.TicksPerSecond),
        ('M', TimeSpan.TicksPerMinute), ('H', TimeSpan.TicksPerHour),
    ];
}
