using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using VmSidecar.Wire.Dns;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Dns;

/// <summary>Reads the addresses of a host: strictly, as the peers do (no octal, no short forms), in their order, each once. Holds scratch; one per builder.</summary>
internal sealed class AddressParser(bool mappedIsV4)
{
    private readonly List<byte> _v4 = [], _v6 = [];
    private readonly HashSet<UInt128> _seen = [];

    /// <summary>IPv4 addresses of the host read last, four bytes each.</summary>
    public ReadOnlySpan<byte> V4 => CollectionsMarshal.AsSpan(_v4);

    /// <summary>IPv6 addresses of the host read last, sixteen bytes each.</summary>
    public ReadOnlySpan<byte> V6 => CollectionsMarshal.AsSpan(_v6);

    /// <summary>False when no address is left: the host is then unknown to the table.</summary>
    public bool TryRead(NdsHost host)
    {
        _v4.Clear();
        _v6.Clear();
        _seen.Clear();
        var fields = new ProtoReader(host.Fields);
        while (fields.Next())
        {
            if (fields.Is(NdsHost.Ips)) { Add(fields.Bytes); }
        }
        return _v4.Count + _v6.Count > 0;
    }

    private void Add(ReadOnlySpan<byte> text)
    {
        Span<byte> bytes = stackalloc byte[16];
        if (TryParseV4(text, bytes)) { Keep(_v4, bytes[..4]); return; }
        if (!TryParseV6(text, bytes)) { return; }
        bool mapped = bytes[..10].IndexOfAnyExcept((byte)0) < 0 && bytes[10] == 0xff && bytes[11] == 0xff;
        if (mapped && mappedIsV4) { Keep(_v4, bytes[12..]); }
        else { Keep(_v6, bytes); }
    }

    private void Keep(List<byte> into, ReadOnlySpan<byte> address)
    {
        UInt128 key = MeshAddress.Key(address) ^ (address.Length == 4 ? UInt128.One << 127 : 0); // a mapped v6 is not its v4
        if (_seen.Count == 0 && into.Count == 0) { into.AddRange(address); _first = key; return; }
        if (_seen.Count == 0) { _seen.Add(_first); }
        if (_seen.Add(key)) { into.AddRange(address); }
    }

    private UInt128 _first; // most hosts have one address: the set is filled from the second on

    private static bool TryParseV4(ReadOnlySpan<byte> text, Span<byte> bytes)
    {
        int part = 0, value = -1;
        for (int i = 0; i <= text.Length; i++)
        {
            if (i == text.Length || text[i] == '.')
            {
                if (value < 0 || part > 3) { return false; }
                bytes[part++] = (byte)value;
                value = -1;
                continue;
            }
            int digit = text[i] - '0';
            if (digit is < 0 or > 9 || value == 0) { return false; } // a leading zero could mean octal
            value = Math.Max(value, 0) * 10 + digit;
            if (value > 255) { return false; }
        }
        return part == 4;
    }

    private static bool TryParseV6(ReadOnlySpan<byte> text, Span<byte> bytes)
    {
        if (text.Length is < 2 or > 45 || !text.Contains((byte)':') || text.IndexOfAny("%[/"u8) >= 0) { return false; }
        Span<char> chars = stackalloc char[45];
        for (int i = 0; i < text.Length; i++) { chars[i] = (char)text[i]; }
        return IPAddress.TryParse(chars[..text.Length], out IPAddress? address)
            && address.AddressFamily == AddressFamily.InterNetworkV6 && address.TryWriteBytes(bytes, out _);
    }
}
