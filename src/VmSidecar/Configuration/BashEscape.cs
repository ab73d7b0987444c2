using System.Globalization;
using System.Text;

namespace VmSidecar.Configuration;

/// <summary>The escapes of bash's <c>$'...'</c>. Bytes given by number are collected as private characters and joined as UTF-8 at the end of the value.</summary>
internal static class BashEscape
{
    private const char ByteBase = '\uE000'; // \x80..\xff until JoinBytes; private use, so no file text means it

    /// <summary>Takes the rest of <c>$'...'</c> after its first quote.</summary>
    public static void ReadAnsi(BashCursor at, StringBuilder value, int line)
    {
        while (!at.TryTake('\''))
        {
            if (at.IsAtEnd) { throw new BashSyntaxException(line, "the quote $' opened on this line is never closed", "Add the missing '"); }
            char c = at.TakeChar();
            if (c != '\\' || at.IsAtEnd) { value.Append(c); }
            else { ReadEscape(at, value, at.TakeChar(), line); }
        }
    }

    /// <summary>Numbered bytes become the characters they encode.</summary>
    public static string JoinBytes(StringBuilder value)
    {
        string text = value.ToString();
        if (text.AsSpan().IndexOfAnyInRange((char)(ByteBase + 0x80), (char)(ByteBase + 0xff)) < 0) { return text; }
        var bytes = new List<byte>(text.Length);
        foreach (Rune rune in text.EnumerateRunes())
        {
            if (rune.Value is >= ByteBase + 0x80 and <= ByteBase + 0xff) { bytes.Add((byte)(rune.Value - ByteBase)); }
            else { bytes.AddRange(Encoding.UTF8.GetBytes(rune.ToString())); }
        }
        return Encoding.UTF8.GetString([.. bytes]);
    }

    private static void ReadEscape(BashCursor at, StringBuilder value, char c, int line)
    {
        switch (c)
        {
            case 'a': value.Append('\a'); break;
            case 'b': value.Append('\b'); break;
            case 'e' or 'E': value.Append('\x1b'); break;
            case 'f': value.Append('\f'); break;
            case 'n': value.Append('\n'); break;
            case 'r': value.Append('\r'); break;
            case 't': value.Append('\t'); break;
            case 'v': value.Append('\v'); break;
            case '\\' or '\'' or '"' or '?': value.Append(c); break;
            case >= '0' and <= '7': AppendByte(value, OctalOf(at, c), line); break;
            case 'x' when char.IsAsciiHexDigit(at.Current): AppendByte(value, HexOf(at, 2), line); break;
            case 'u' when char.IsAsciiHexDigit(at.Current): AppendRune(value, HexOf(at, 4), line); break;
            case 'U' when char.IsAsciiHexDigit(at.Current): AppendRune(value, HexOf(at, 8), line); break;
            case 'c': throw new BashSyntaxException(line, "'\\c' writes a control character", "Remove it");
            default: value.Append('\\').Append(c); break;
        }
    }

    private static uint OctalOf(BashCursor at, char first)
    {
        int number = first - '0';
        for (int i = 0; i < 2 && at.Current is >= '0' and <= '7'; i++) { number = (number * 8) + (at.TakeChar() - '0'); }
        return (uint)(number & 0xff);
    }

    private static uint HexOf(BashCursor at, int digits)
    {
        uint number = 0;
        for (int i = 0; i < digits && char.IsAsciiHexDigit(at.Current); i++)
        {
            number = (number << 4) | uint.Parse([at.TakeChar()], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        }
        return number;
    }

    private static void AppendByte(StringBuilder value, uint number, int line)
    {
        if (number == 0) { throw new BashSyntaxException(line, "a zero byte cannot be part of a value", "Remove it"); }
        value.Append(number < 0x80 ? (char)number : (char)(ByteBase + number));
    }

    private static void AppendRune(StringBuilder value, uint number, int line)
    {
        if (number == 0 || !Rune.IsValid(number)) { throw new BashSyntaxException(line, $"U+{number:X4} is no character", "Correct the number"); }
        value.Append(new Rune(number).ToString());
    }
}
