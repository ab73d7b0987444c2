using System.Globalization;
using System.Net;

namespace VmSidecar.Configuration;

/// <summary><c>host:port</c> with IPv6 literals in brackets.</summary>
internal readonly record struct HostPort(string Host, int Port)
{
    /// <summary>True for a DNS name or IP address and a port of 1 to 65535.</summary>
    public static bool TryParse(string text, out HostPort value)
    {
        value = default;
        int colon = text.LastIndexOf(':');
        if (colon <= 0 || !ushort.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out ushort port) || port == 0) { return false; }
        string host = text[..colon];
        if (host.StartsWith('[') && host.EndsWith(']')) { host = host[1..^1]; if (!IPAddress.TryParse(host, out _) || !host.Contains(':', StringComparison.Ordinal)) { return false; } }
        else if (host.Contains(':', StringComparison.Ordinal) || !IsName(host)) { return false; }
        value = new(host, port);
        return true;
    }

    /// <summary>The host of an address that may be malformed: everything before the port.</summary>
    public static string HostOf(string address) => TryParse(address, out HostPort parsed) ? parsed.Host : address;

    /// <summary>DNS labels of letters, digits, '-' and '_', at most 63 octets each, 253 together (RFC 1035 §2.3.4).</summary>
    private static bool IsName(string host) =>
        host.Length <= 254 && host.TrimEnd('.').Split('.').All(label =>
            label.Length is > 0 and <= 63 && label[0] != '-' && label[^1] != '-' && label.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_'));
}
