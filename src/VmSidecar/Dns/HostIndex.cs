using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>
/// Finds records by name: hashes and places in one piece of memory, probed in line. Filled by <see cref="NameTableBuilder"/>, then never written to again; read
/// without a lock and without allocation.
/// </summary>
/// <param name="records">Where the records lie.</param>
/// <param name="skip">Bytes of a record's name before its key: 2 for what is below an asterisk.</param>
/// <param name="capacity">Names expected; it grows.</param>
internal sealed class HostIndex(HostRecords records, int skip, int capacity)
{
    private TableMemory _memory = Room(SizeFor(capacity));

    /// <summary>Names in it.</summary>
    public int Count { get; private set; }

    /// <summary>Finds a lower-case wire name.</summary>
    public bool TryGetValue(ReadOnlySpan<byte> name, out NamedHost host)
    {
        host = default;
        if (Count == 0) { return false; }
        Span<Place> places = Places;
        int at = places[Probe(places, name, Hash(name))].At;
        if (at == 0) { return false; }
        host = records.Host(at);
        return true;
    }

    /// <summary>The place of a name's record; 0: not there.</summary>
    public int Find(ReadOnlySpan<byte> name) => Places[Probe(Places, name, Hash(name))].At;

    public bool ContainsKey(ReadOnlySpan<byte> name) => TryGetValue(name, out _);

    /// <summary>The place of a name's record, to be written; 0: not there yet. Valid until the next call.</summary>
    public ref int At(ReadOnlySpan<byte> name)
    {
        if (4L * (Count + 1) > 3L * Places.Length) { Grow(); } // a quarter stays empty: probes end soon
        Span<Place> places = Places;
        uint hash = Hash(name);
        ref Place place = ref places[Probe(places, name, hash)];
        if (place.At == 0)
        {
            Count++;
            place.Hash = hash;
        }
        return ref place.At;
    }

    public Enumerator GetEnumerator() => new(this);

    public void Free() => _memory.Free();

    private Span<Place> Places => MemoryMarshal.Cast<byte, Place>(_memory.Span);

    private static TableMemory Room(int places) => new(checked(places * Unsafe.SizeOf<Place>()));

    private static uint Hash(ReadOnlySpan<byte> name) => (uint)WireNameComparer.Instance.GetHashCode(name);

    private static int SizeFor(int names) => (int)BitOperations.RoundUpToPowerOf2((uint)Math.Clamp(names + names / 2L, 8, 1 << 27));

    private int Probe(ReadOnlySpan<Place> places, ReadOnlySpan<byte> name, uint hash)
    {
        int mask = places.Length - 1, i = (int)hash & mask;
        for (; places[i].At != 0; i = (i + 1) & mask)
        {
            if (places[i].Hash == hash && records.Name(places[i].At)[skip..].SequenceEqual(name)) { break; }
        }
        return i;
    }

    private void Grow()
    {
        TableMemory old = _memory;
        _memory = Room(checked(2 * Places.Length));
        Span<Place> places = Places;
        int mask = places.Length - 1;
        foreach (Place place in MemoryMarshal.Cast<byte, Place>(old.Span))
        {
            if (place.At == 0) { continue; }
            int i = (int)place.Hash & mask;
            while (places[i].At != 0) { i = (i + 1) & mask; }
            places[i] = place;
        }
        old.Free();
    }

    private struct Place
    {
        public uint Hash;
        public int At;
    }

    /// <summary>Walks the names in no particular order.</summary>
    public ref struct Enumerator(HostIndex index)
    {
        private readonly ReadOnlySpan<Place> _places = index.Places;
        private int _next = -1;

        /// <summary>The name a host is listed under, and the host.</summary>
        public readonly HostEntry Current => new(index.Records, _places[_next].At);

        public bool MoveNext()
        {
            while (++_next < _places.Length)
            {
                if (_places[_next].At != 0) { return true; }
            }
            return false;
        }
    }

    private HostRecords Records => records;
}

/// <summary>One name of an index.</summary>
internal readonly ref struct HostEntry(HostRecords records, int at)
{
    /// <summary>Lower-case wire name: the host's, or another one for it.</summary>
    public ReadOnlySpan<byte> Name => records.Name(at);

    public NamedHost Host => records.Host(at);

    /// <summary>True when the name is not the host's own.</summary>
    public bool IsAlias => records.IsAlias(at);

    /// <summary>Its place among the records.</summary>
    public int At => at;
}
