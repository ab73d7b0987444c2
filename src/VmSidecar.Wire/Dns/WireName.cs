using System.Text;

namespace VmSidecar.Wire.Dns;

/// <summary>
/// Names in wire form: length-prefixed labels ended by the empty root label, at most 255 bytes, without compression
/// (RFC 1035 §3.1). All functions are pure and none throws on bad input.
/// </summary>
internal static class WireName
{
    public const int MaxLength = 255; // RFC 1035 §2.3.4
    public const int MaxLabel = 63;   // RFC 1035 §2.3.4

    /// <summary>Encodes a dotted ASCII name, with or without the dot at its end, in lower case. False for an empty label, a label or name that is too long, or bytes outside printable ASCII.</summary>
    public static bool TryEncode(ReadOnlySpan<byte> text, Span<byte> wire, out int written)
    {
        written = 0;
        if (text.Length == 1 && text[0] == '.') { text = []; }
        else if (text.Length > 0 && text[^1] == '.') { text = text[..^1]; if (text.Length == 0) { return false; } }
        while (text.Length > 0)
        {
            int dot = text.IndexOf((byte)'.');
            ReadOnlySpan<byte> label = dot < 0 ? text : text[..dot];
            if (!TryAppendLabel(label, wire, ref written)) { return false; }
            if (dot == text.Length - 1) { return false; } // two dots at the end
            text = dot < 0 ? [] : text[(dot + 1)..];
        }
        if (written >= wire.Length || written >= MaxLength) { return false; }
        wire[written++] = 0;
        return true;
    }

    /// <summary>Encodes a dotted name into a new array; null when it is not a name. Not for the query path.</summary>
    public static byte[]? Encode(string text)
    {
        Span<byte> wire = stackalloc byte[MaxLength];
        if (text.Length > 2 * MaxLength || !Ascii.IsValid(text)) { return null; }
        return TryEncode(Encoding.ASCII.GetBytes(text), wire, out int written) ? wire[..written].ToArray() : null;
    }

    /// <summary>The dotted form with a dot at its end; bytes that are not printable, dots and backslashes inside labels as <c>\ddd</c> (RFC 1035 §5.1).</summary>
    public static string ToText(ReadOnlySpan<byte> wire)
    {
        if (wire.Length <= 1) { return "."; }
        var text = new StringBuilder(wire.Length);
        while (wire.Length > 0 && wire[0] > 0 && wire[0] < wire.Length)
        {
            foreach (byte b in wire.Slice(1, wire[0]))
            {
                if (b is > 0x20 and < 0x7f and not (byte)'.' and not (byte)'\\') { text.Append((char)b); }
                else { text.Append('\\').Append(b.ToString("D3", System.Globalization.CultureInfo.InvariantCulture)); }
            }
            text.Append('.');
            wire = wire[(wire[0] + 1)..];
        }
        return text.ToString();
    }

    /// <summary>Copies <paramref name="wire"/> in lower case. Length bytes are below 'A', so the whole name can be treated alike.</summary>
    public static void ToLower(ReadOnlySpan<byte> wire, Span<byte> lower)
    {
        for (int i = 0; i < wire.Length; i++) { lower[i] = Lower(wire[i]); }
    }

    /// <summary>True when no byte is an upper-case letter.</summary>
    public static bool IsLower(ReadOnlySpan<byte> wire) => wire.IndexOfAnyInRange((byte)'A', (byte)'Z') < 0;

    /// <summary>Labels in the name, the root not counted.</summary>
    public static int CountLabels(ReadOnlySpan<byte> wire)
    {
        int labels = 0;
        for (int at = 0; at < wire.Length && wire[at] != 0; at += wire[at] + 1) { labels++; }
        return labels;
    }

    /// <summary>The name without its first label; the root stays the root.</summary>
    public static ReadOnlySpan<byte> Parent(ReadOnlySpan<byte> wire) => wire.Length <= 1 ? wire : wire[(wire[0] + 1)..];

    /// <summary>True when <paramref name="wire"/> lies strictly below <paramref name="suffix"/>, both in lower case; <paramref name="stem"/> is then the length of the labels above it.</summary>
    public static bool IsBelow(ReadOnlySpan<byte> wire, ReadOnlySpan<byte> suffix, out int stem)
    {
        stem = wire.Length - suffix.Length;
        if (stem <= 0 || !wire[stem..].SequenceEqual(suffix)) { return false; }
        int at = 0; // the bytes agree; they must also begin at a label
        while (at < stem) { at += wire[at] + 1; }
        return at == stem;
    }

    /// <summary>Writes the labels of <paramref name="stem"/> (its root left out) followed by the name <paramref name="suffix"/>; false when that is no name of 255 bytes or less.</summary>
    public static bool TryJoin(ReadOnlySpan<byte> stem, ReadOnlySpan<byte> suffix, Span<byte> joined, out int written)
    {
        written = stem.Length - 1 + suffix.Length;
        if (stem.Length == 0 || written > MaxLength || written > joined.Length) { return false; }
        stem[..^1].CopyTo(joined);
        suffix.CopyTo(joined[(stem.Length - 1)..]);
        return true;
    }

    internal static byte Lower(byte b) => (uint)(b - 'A') <= 'Z' - 'A' ? (byte)(b | 0x20) : b;

    private static bool TryAppendLabel(ReadOnlySpan<byte> label, Span<byte> wire, ref int written)
    {
        if (label.Length is 0 or > MaxLabel || written + label.Length + 1 > Math.Min(wire.Length, MaxLength)) { return false; }
        wire[written++] = (byte)label.Length;
        foreach (byte b in label)
        {
            if (b is <= 0x20 or >= 0x7f) { return false; }
            wire[written++] = Lower(b);
        }
        return true;
    }
}
