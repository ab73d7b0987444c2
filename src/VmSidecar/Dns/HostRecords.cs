using System.Runtime.InteropServices;

namespace VmSidecar.Dns;

/// <summary>
/// The hosts of one table, one behind another in one piece of memory: a table of 100,000 hosts is a handful of objects to the collector, and no work. Filled by <see cref="NameTableBuilder"/>, then never written to again. A record: what it is (one byte),
/// length of the name (one), of the IPv4 and of the IPv6 addresses (four each; an alias has the place of its host instead), the name, the addresses.
/// </summary>
/// <param name="size">Bytes it will need, as far as one can tell; it grows.</param>
internal sealed class HostRecords(int size)
{
    private const int Head = 10, SourceBits = 3;
    private const byte ShortNames = 4, Alias = 8, Headless = 16, Member = 32;

    private readonly TableMemory _bytes = new(Math.Max(size, 64));
    private int _end = 1; // no record is at 0: an index has that for an empty place

    /// <summary>Appends a host and returns its place.</summary>
    public int Add(NamedHost host)
    {
        Span<byte> record = Room(Head + host.Name.Length + host.V4.Length + host.V6.Length, out int at);
        record[0] = (byte)((int)host.Source | (host.HasShortNames ? ShortNames : 0) | (host.IsHeadless ? Headless : 0));
        record[1] = (byte)host.Name.Length;
        MemoryMarshal.Write(record[2..], host.V4.Length);
        MemoryMarshal.Write(record[6..], host.V6.Length);
        host.Name.CopyTo(record[Head..]);
        host.V4.CopyTo(record[(Head + host.Name.Length)..]);
        host.V6.CopyTo(record[^host.V6.Length..]);
        return at;
    }

    /// <summary>Appends another name of the host at <paramref name="host"/> and returns its place.</summary>
    public int AddAlias(ReadOnlySpan<byte> name, int host)
    {
        Span<byte> record = Room(Head + name.Length, out int at);
        record[0] = Alias;
        record[1] = (byte)name.Length;
        MemoryMarshal.Write(record[2..], host);
        name.CopyTo(record[Head..]);
        return at;
    }

    /// <summary>The name a record is listed under: the host's, or the alias.</summary>
    public ReadOnlySpan<byte> Name(int at) => Name(_bytes.Span, at);

    /// <summary>True for another name of a host.</summary>
    public bool IsAlias(int at) => _bytes.Span[at] == Alias;

    /// <summary>Says of the host at <paramref name="at"/> that it is one of the pods of the service whose name is its own without the first label.</summary>
    public void MarkMember(int at) => _bytes.Span[at] |= Member;

    /// <summary>True for what <see cref="MarkMember"/> was told of.</summary>
    public bool IsMember(int at) => (_bytes.Span[at] & Member) != 0;

    /// <summary>Says of the host at <paramref name="at"/> (no alias) that it is headless after all.</summary>
    public void MarkHeadless(int at) => _bytes.Span[at] |= Headless;

    /// <summary>The host of a record, also of an alias.</summary>
    public NamedHost Host(int at)
    {
        ReadOnlySpan<byte> bytes = _bytes.Span, record = bytes[at..];
        if (record[0] == Alias) { record = bytes[MemoryMarshal.Read<int>(record[2..])..]; }
        int name = record[1], v4 = MemoryMarshal.Read<int>(record[2..]), v6 = MemoryMarshal.Read<int>(record[6..]);
        ReadOnlySpan<byte> rest = record.Slice(Head, name + v4 + v6);
        return new(rest[..name], rest.Slice(name, v4), rest[(name + v4)..], (HostSource)(record[0] & SourceBits), (record[0] & ShortNames) != 0, (record[0] & Headless) != 0);
    }

    /// <summary>The bytes of one address that lies in a record.</summary>
    public ReadOnlySpan<byte> Bytes(int at, int length) => _bytes.Span.Slice(at, length);

    /// <summary>Where the addresses of the host at <paramref name="host"/> (no alias) begin.</summary>
    public int Addresses(int host) => host + Head + _bytes.Span[host + 1];

    public void Free() => _bytes.Free();

    private static ReadOnlySpan<byte> Name(ReadOnlySpan<byte> bytes, int at) => bytes.Slice(at + Head, bytes[at + 1]);

    private Span<byte> Room(int length, out int at)
    {
        int needed = checked(_end + length);
        int room = _bytes.Span.Length;
        if (needed > room) { _bytes.Grow((int)Math.Min(Math.Max(needed, 3L * room / 2), Array.MaxLength)); }
        at = _end;
        _end = needed;
        return _bytes.Span.Slice(at, length);
    }
}
