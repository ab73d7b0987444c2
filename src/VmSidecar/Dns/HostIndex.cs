using System.Numerics;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>
/// Finds records by name: one array of hashes and places, probed in line. Filled by <see cref="NameTableBuilder"/>, then never written to again; read
/// without a lock and without allocation.
/// </summary>
/// <param name="records">Where the records lie.</param>
/// <param name="skip">Bytes of a record's name before its key: 2 for what is below an asterisk.</param>
/// <param name="capacity">Names expected; it grows.</param>
internal sealed class HostIndex(HostRecords records, int skip, int capacity)
{
    private Place[] _places = new Place[SizeFor(capacity)];

    /// <summary>Names in it.</summary>
    public int Count { get; private set; }

    /// <summary>Finds a lower-case wire name.</summary>
    public bool TryGetValue(ReadOnlySpan<byte> name, out NamedHost host)
    {
        host = default;
        if (Count == 0) { return false; }
        int at = _places[Probe(name, Hash(name))].At;
        if (at == 0) { return false; }
        host = records.Host(at);
        return true;
    }

    public bool ContainsKey(ReadOnlySpan<byte> name) => TryGetValue(name, out _);

    /// <summary>The place of a name's record, to be written; 0: not there yet. Valid until the next call.</summary>
    public ref int At(ReadOnlySpan<byte> name)
    {
        if (4L * (Count + 1) > 3L * _places.Length) { Grow(); } // a quarter stays empty: probes end soon
        uint hash = Hash(name);
        ref Place place = ref _places[Probe(name, hash)];
        if (place.At == 0)
        {
            Count++;
            place.Hash = hash;
        }
        return ref place.At;
    }

    public Enumerator GetEnumerator() => new(this);

    private static uint Hash(ReadOnlySpan<byte> name) => (uint)WireNameComparer.Instance.GetHashCode(name);

    private static int SizeFor(int names) => (int)BitOperations.RoundUpToPowerOf2((uint)Math.Clamp(names + names / 2L, 8, 1 << 30));

    private int Probe(ReadOnlySpan<byte> name, uint hash)
    {
        int mask = _places.Length - 1, i = (int)hash & mask;
        for (; _places[i].At != 0; i = (i + 1) & mask)
        {
            if (_places[i].Hash == hash && records.Name(_places[i].At)[skip..].SequenceEqual(name)) { break; }
        }
        return i;
    }

    private void Grow()
    {
        Place[] old = _places;
        _places = new Place[checked(2 * old.Length)];
        int mask = _places.Length - 1;
        foreach (Place place in old)
        {
            if (place.At == 0) { continue; }
            int i = (int)place.Hash & mask;
            while (_places[i].At != 0) { i = (i + 1) & mask; }
            _places[i] = place;
        }
    }

    private struct Place
    {
        public uint Hash;
        public int At;
    }

    /// <summary>Walks the names in no particular order.</summary>
    public ref struct Enumerator(HostIndex index)
    {
        private int _next = -1;

        /// <summary>The name a host is listed under, and the host.</summary>
        public readonly HostEntry Current => new(index.Records, index._places[_next].At);

        public bool MoveNext()
        {
            while (++_next < index._places.Length)
            {
                if (index._places[_next].At != 0) { return true; }
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
