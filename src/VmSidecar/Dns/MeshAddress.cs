using System.Buffers.Binary;
using System.Net;

namespace VmSidecar.Dns;

/// <summary>Addresses as numbers, IPv4 in its mapped form; and which ranges belong to meshes alone.</summary>
internal static class MeshAddress
{
    private const ulong MappedPrefix = 0xffff_0000_0000; // ::ffff:0:0/96

    /// <summary>The number of an address given by its 4 or 16 bytes.</summary>
    public static UInt128 Key(ReadOnlySpan<byte> address) => address.Length == 4
        ? new UInt128(0, MappedPrefix | BinaryPrimitives.ReadUInt32BigEndian(address))
        : BinaryPrimitives.ReadUInt128BigEndian(address);

    /// <summary>True for 240.0.0.0/4 (reserved, RFC 1112 §4: where istiod's and our own virtual addresses lie) and 2001:2::/48 (benchmarking, RFC 5180).</summary>
    public static bool IsVirtual(UInt128 key)
    {
        ulong high = (ulong)(key >> 64), low = (ulong)key;
        return (high == 0 && low >> 32 == 0xffff && (uint)low >> 28 == 0xf) || high >> 16 == 0x2001_0002_0000;
    }

    /// <summary>The address of a reverse name (<c>11.10.96.10.in-addr.arpa.</c>, nibbles below <c>ip6.arpa.</c>) in lower-case wire form; false for anything else (RFC 1035 §3.5, RFC 3596 §2.5).</summary>
    public static bool TryParseReverse(ReadOnlySpan<byte> name, out UInt128 key)
    {
        key = 0;
        ReadOnlySpan<byte> v4 = "\u0007in-addr\u0004arpa\0"u8, v6 = "\u0003ip6\u0004arpa\0"u8;
        bool isV4 = name.Length > v4.Length && name.EndsWith(v4);
        if (!isV4 && !(name.Length > v6.Length && name.EndsWith(v6))) { return false; }
        int end = name.Length - (isV4 ? v4.Length : v6.Length), labels = 0, at = 0;
        Span<byte> parts = stackalloc byte[32];
        for (; at < end && labels < 32; at += name[at] + 1)
        {
            if (!TryParseLabel(name.Slice(at + 1, name[at]), isV4, out parts[labels++])) { return false; }
        }
        if (at != end || labels != (isV4 ? 4 : 32)) { return false; }
        parts = parts[..labels];
        parts.Reverse();
        if (isV4) { key = Key(parts); return true; }
        foreach (byte nibble in parts) { key = (key << 4) | nibble; }
        return true;
    }

    /// <summary>The text form, for people.</summary>
    public static string ToText(ReadOnlySpan<byte> address) => new IPAddress(address).ToString();

    private static bool TryParseLabel(ReadOnlySpan<byte> label, bool isDecimal, out byte value)
    {
        if (isDecimal) { return System.Buffers.Text.Utf8Parser.TryParse(label, out value, out int used) && used == label.Length && (label.Length == 1 || label[0] != '0'); }
        value = 0;
        if (label.Length != 1 || !char.IsAsciiHexDigit((char)label[0])) { return false; }
        value = (byte)(label[0] <= '9' ? label[0] - '0' : (label[0] | 0x20) - 'a' + 10);
        return true;
    }
}
