using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Text;

namespace VmSidecar.MiniEnvoy.Traffic;

/// <summary>What the TLS inspector takes from the first flight (RFC 8446 §4.1.2): server name and application protocols. Pure.</summary>
internal sealed record ClientHello(string ServerName, ImmutableArray<string> Protocols)
{
    private const int MostBytes = 64 * 1024;

    /// <summary>Null with <paramref name="needsMore"/> when the hello is not complete yet, null without when this is not TLS.</summary>
    public static ClientHello? Parse(ReadOnlySpan<byte> bytes, out bool needsMore)
    {
        needsMore = bytes.Length < MostBytes;
        if (bytes.Length > 0 && bytes[0] != 0x16) { needsMore = false; return null; }
        if (bytes.Length > 1 && bytes[1] != 0x03) { needsMore = false; return null; }
        byte[] handshake = new byte[bytes.Length];
        int length = 0;
        while (bytes.Length >= 5 && bytes[0] == 0x16) // a hello may span records
        {
            int record = BinaryPrimitives.ReadUInt16BigEndian(bytes[3..]);
            int part = Math.Min(record, bytes.Length - 5);
            bytes.Slice(5, part).CopyTo(handshake.AsSpan(length));
            length += part;
            bytes = bytes[(5 + part)..];
            if (part < record) { break; }
        }
        if (length > 0 && handshake[0] != 0x01) { needsMore = false; return null; }
        if (length < 4) { return null; }
        int wanted = (handshake[1] << 16) | (handshake[2] << 8) | handshake[3];
        if (length - 4 < wanted) { return null; }
        needsMore = false;
        return Read(handshake.AsSpan(4, wanted));
    }

    private static ClientHello Read(ReadOnlySpan<byte> hello)
    {
        string name = "";
        var protocols = ImmutableArray.CreateBuilder<string>();
        hello = Skip(hello, 34);                          // version, random
        hello = Vector(hello, 1, out _);                  // session id
        hello = Vector(hello, 2, out _);                  // cipher suites
        hello = Vector(hello, 1, out _);                  // compression
        Vector(hello, 2, out ReadOnlySpan<byte> extensions);
        while (extensions.Length >= 4)
        {
            int type = BinaryPrimitives.ReadUInt16BigEndian(extensions);
            extensions = Vector(extensions[2..], 2, out ReadOnlySpan<byte> body);
            if (type == 0 && body.Length > 5) { Vector(body[3..], 2, out ReadOnlySpan<byte> host); name = Encoding.ASCII.GetString(host); } // list length, kind
            if (type != 16) { continue; }
            Vector(body, 2, out ReadOnlySpan<byte> list);
            while (list.Length > 0)
            {
                list = Vector(list, 1, out ReadOnlySpan<byte> protocol);
                protocols.Add(Encoding.ASCII.GetString(protocol));
            }
        }
        return new ClientHello(name, protocols.ToImmutable());
    }

    private static ReadOnlySpan<byte> Skip(ReadOnlySpan<byte> from, int count) => from.Length < count ? [] : from[count..];

    /// <summary>Takes a vector with a length of <paramref name="prefix"/> bytes; what is cut short is empty.</summary>
    private static ReadOnlySpan<byte> Vector(ReadOnlySpan<byte> from, int prefix, out ReadOnlySpan<byte> value)
    {
        value = [];
        if (from.Length < prefix) { return []; }
        int length = prefix == 1 ? from[0] : BinaryPrimitives.ReadUInt16BigEndian(from);
        if (from.Length < prefix + length) { return []; }
        value = from.Slice(prefix, length);
        return from[(prefix + length)..];
    }
}
