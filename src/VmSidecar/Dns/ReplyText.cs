using System.Globalization;
using System.Net;
using System.Text;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>Records of a reply as text, for people. Never throws; what it does not know is shown in hexadecimal (RFC 3597 §5).</summary>
internal static class ReplyText
{
    /// <summary>One line per answer record: owner, TTL, type, data. Null when the reply is broken.</summary>
    public static IReadOnlyList<string>? Answers(ReadOnlySpan<byte> reply)
    {
        if (!DnsHeader.TryRead(reply, out DnsHeader header)) { return null; }
        var reader = new DnsReader(reply, DnsHeader.Size);
        for (int i = 0; i < header.Questions; i++)
        {
            if (!reader.TryReadQuestion(out _)) { return null; }
        }
        List<string> lines = [];
        for (int i = 0; i < header.Answers; i++)
        {
            if (!reader.TryReadRecord(out DnsRecord record)) { return null; }
            lines.Add(string.Create(CultureInfo.InvariantCulture, $"{NameAt(reply, record.Start)} {record.Ttl} {DnsType.ToText(record.Type)} {Content(reply, record)}"));
        }
        return lines;
    }

    private static string Content(ReadOnlySpan<byte> reply, DnsRecord record)
    {
        ReadOnlySpan<byte> bytes = reply.Slice(record.DataStart, record.DataLength);
        return record.Type switch
        {
            DnsType.A when bytes.Length == 4 => new IPAddress(bytes).ToString(),
            DnsType.AAAA when bytes.Length == 16 => new IPAddress(bytes).ToString(),
            DnsType.CNAME or DnsType.NS or DnsType.PTR => NameAt(reply, record.DataStart),
            DnsType.MX when bytes.Length > 2 => string.Create(CultureInfo.InvariantCulture, $"{(bytes[0] << 8) | bytes[1]} {NameAt(reply, record.DataStart + 2)}"),
            DnsType.SRV when bytes.Length > 6 => string.Create(CultureInfo.InvariantCulture, $"{(bytes[0] << 8) | bytes[1]} {(bytes[2] << 8) | bytes[3]} {(bytes[4] << 8) | bytes[5]} {NameAt(reply, record.DataStart + 6)}"),
            DnsType.TXT => Strings(bytes),
            _ => $"\\# {bytes.Length} {Convert.ToHexString(bytes)}",
        };
    }

    private static string Strings(ReadOnlySpan<byte> bytes)
    {
        var text = new StringBuilder();
        while (bytes.Length > 0 && bytes[0] < bytes.Length)
        {
            text.Append(text.Length > 0 ? " \"" : "\"");
            foreach (byte b in bytes.Slice(1, bytes[0])) { text.Append(b is >= 0x20 and < 0x7f and not (byte)'"' ? ((char)b).ToString() : string.Create(CultureInfo.InvariantCulture, $"\\{b:D3}")); }
            text.Append('"');
            bytes = bytes[(bytes[0] + 1)..];
        }
        return text.ToString();
    }

    private static string NameAt(ReadOnlySpan<byte> packet, int at)
    {
        Span<byte> name = stackalloc byte[WireName.MaxLength];
        var reader = new DnsReader(packet, at);
        return reader.TryReadName(name, out int length) ? WireName.ToText(name[..length]) : "(broken name)";
    }
}
