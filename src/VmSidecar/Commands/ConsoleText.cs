using System.Globalization;

namespace VmSidecar.Commands;

/// <summary>
/// Text of somebody else (a file, a server, Envoy's last words) as a terminal may be given it: control characters, and those that turn the direction of text, are
/// written as <c>\x1b</c> or <c>\u202e</c>. They could forge lines, move the cursor or make one name look like another. Pure.
/// </summary>
internal static class ConsoleText
{
    /// <summary>In one line.</summary>
    public static string Line(string text) => text.Any(IsDangerous) ? string.Concat(text.Select(c => IsDangerous(c) ? Escape(c) : $"{c}")) : text;

    /// <summary>The lines of the text stay lines.</summary>
    public static string Lines(string text) => text.Any(IsDangerous) ? string.Concat(text.Select(c => c != '\n' && IsDangerous(c) ? Escape(c) : $"{c}")) : text;

    private static bool IsDangerous(char c) => char.IsControl(c) || char.GetUnicodeCategory(c) is UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator;

    private static string Escape(char c) => c < 256 ? string.Create(CultureInfo.InvariantCulture, $"\\x{(int)c:x2}") : string.Create(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}");
}
