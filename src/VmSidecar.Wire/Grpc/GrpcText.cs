using System.Text;

namespace VmSidecar.Wire.Grpc;

/// <summary>The percent-encoding of <c>grpc-message</c>: UTF-8, where only printable ASCII other than '%' goes unescaped.</summary>
internal static class GrpcText
{
    private const string Hex = "0123456789ABCDEF";

    /// <summary>Escapes what may not stand in the header. The result is printable ASCII.</summary>
    public static string Encode(string text)
    {
        byte[] utf8 = Encoding.UTF8.GetBytes(text);
        var encoded = new StringBuilder(utf8.Length);
        foreach (byte b in utf8)
        {
            if (b is >= 0x20 and <= 0x7E and not (byte)'%') { encoded.Append((char)b); }
            else { encoded.Append('%').Append(Hex[b >> 4]).Append(Hex[b & 15]); }
        }
        return encoded.ToString();
    }

    /// <summary>Undoes <see cref="Encode"/>. Never fails: the specification forbids to drop a message for a bad escape, so what is no escape stays as it is.</summary>
    public static string Decode(string encoded)
    {
        if (!encoded.Contains('%')) { return encoded; }
        byte[] source = Encoding.UTF8.GetBytes(encoded);
        byte[] decoded = new byte[source.Length];
        int length = 0;
        for (int i = 0; i < source.Length; i++)
        {
            bool escape = source[i] == '%' && i + 2 < source.Length && char.IsAsciiHexDigit((char)source[i + 1]) && char.IsAsciiHexDigit((char)source[i + 2]);
            decoded[length++] = escape ? (byte)((Value(source[i + 1]) << 4) | Value(source[i + 2])) : source[i];
            if (escape) { i += 2; }
        }
        return Encoding.UTF8.GetString(decoded, 0, length);
    }

    private static int Value(byte hex) => hex <= '9' ? hex - '0' : (hex | 0x20) - 'a' + 10;
}
