using System.Buffers;
using System.Globalization;

namespace VmSidecar.Configuration;

/// <summary>The text forms of Go's <c>strconv</c> and <c>time</c> packages, which every setting of the classic agent uses. Pure; never throws.</summary>
internal static class GoValue
{
    private static readonly SearchValues<char> s_number = SearchValues.Create("0123456789.");
    private static readonly TimeSpan s_longest = TimeSpan.FromDays(106_751); // int64 nanoseconds

    /// <summary><c>1 t T TRUE true True 0 f F FALSE false False</c>.</summary>
    public static bool TryBool(string text, out bool value)
    {
        value = text is "1" or "t" or "T" or "TRUE" or "true" or "True";
        return value || text is "0" or "f" or "F" or "FALSE" or "false" or "False";
    }

    /// <summary>What people write instead: <c>yes no on off</c> in any case, blanks around.</summary>
    public static bool TryLenientBool(string text, out bool value)
    {
        string word = text.Trim().ToLowerInvariant();
        value = word is "yes" or "y" or "on" or "true" or "enabled";
        return value || word is "no" or "n" or "off" or "false" or "disabled" or "none";
    }

    /// <summary><c>300ms</c>, <c>1h30m</c>, <c>1.5s</c>, <c>0</c>; an optional sign; the units ns us ms s m h.</summary>
    public static bool TryDuration(string text, out TimeSpan value)
    {
        value = default;
        ReadOnlySpan<char> rest = text;
        bool negative = rest.StartsWith('-');
        if (negative || rest.StartsWith('+')) { rest = rest[1..]; }
        if (rest is "0") { return true; }
        if (rest.IsEmpty) { return false; }
        decimal ticks = 0;
        while (!rest.IsEmpty)
        {
            int digits = rest.IndexOfAnyExcept(s_number);
            if (digits <= 0 || digits > 18 || rest[..digits] is "." || rest[..digits].Count('.') > 1) { return false; }
            if (!decimal.TryParse(rest[..digits], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal number)) { return false; }
            rest = rest[digits..];
            if (!TryUnit(ref rest, out decimal unit)) { return false; }
            ticks += number * unit;
            if (ticks > s_longest.Ticks) { return false; }
        }
        value = new TimeSpan((long)(negative ? -ticks : ticks));
        return true;
    }

    private static bool TryUnit(ref ReadOnlySpan<char> rest, out decimal ticks)
    {
        int length = rest.IndexOfAny(s_number);
        ReadOnlySpan<char> unit = length < 0 ? rest : rest[..length];
        ticks = unit switch
        {
            "ns" => 0.01m,
            "us" or "\u00b5s" or "\u03bcs" => 10m,
            "ms" => TimeSpan.TicksPerMillisecond,
            "s" => TimeSpan.TicksPerSecond,
            "m" => TimeSpan.TicksPerMinute,
            "h" => TimeSpan.TicksPerHour,
            _ => 0,
        };
        rest = rest[unit.Length..];
        return ticks > 0;
    }

    /// <summary>The JSON form of a protobuf Duration: seconds with 0, 3, 6 or 9 decimals and <c>s</c>.</summary>
    public static string ToProtoDuration(TimeSpan value)
    {
        long ticks = Math.Abs(value.Ticks % TimeSpan.TicksPerSecond);
        string sign = value < TimeSpan.Zero ? "-" : "";
        string seconds = Math.Abs(value.Ticks / TimeSpan.TicksPerSecond).ToString(CultureInfo.InvariantCulture);
        string fraction = ticks == 0 ? "" : ticks % 10_000 == 0 ? $".{ticks / 10_000:D3}" : ticks % 10 == 0 ? $".{ticks / 10:D6}" : $".{ticks * 100:D9}";
        return $"{sign}{seconds}{fraction}s";
    }

    /// <summary>A quoted Go string (<c>"..."</c> or <c>`...`</c>) as in downward-API files; false when it is not one.</summary>
    public static bool TryUnquote(string text, out string value)
    {
        value = "";
        if (text.Length < 2 || text[0] != text[^1] || text[0] is not ('"' or '`')) { return false; }
        string inner = text[1..^1];
        if (text[0] == '`') { value = inner; return !inner.Contains('`', StringComparison.Ordinal); }
        var result = new System.Text.StringBuilder(inner.Length);
        for (int i = 0; i < inner.Length; i++)
        {
            if (inner[i] is '"' or '\n') { return false; }
            if (inner[i] != '\\') { result.Append(inner[i]); continue; }
            if (!TryEscape(inner, ref i, result)) { return false; }
        }
        value = result.ToString();
        return true;
    }

    private static bool TryEscape(string text, ref int i, System.Text.StringBuilder result)
    {
        if (++i >= text.Length) { return false; }
        int digits = text[i] switch { 'x' => 2, 'u' => 4, 'U' => 8, _ => 0 };
        if (digits > 0)
        {
            if (i + digits >= text.Length || !uint.TryParse(text.AsSpan(i + 1, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint code)
                || !System.Text.Rune.IsValid(code)) { return false; }
            result.Append(new System.Text.Rune(code).ToString());
            i += digits;
            return true;
        }
        char c = text[i] switch { 'a' => '\a', 'b' => '\b', 'f' => '\f', 'n' => '\n', 'r' => '\r', 't' => '\t', 'v' => '\v', '\\' => '\\', '"' => '"', '\'' => '\'', _ => '\0' };
        result.Append(c);
        return c != '\0';
    }
}
