using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>Finds hosts by address, for PTR. Filled by <see cref="NameTableBuilder"/>, then never written to again; read without a lock and without allocation.</summary>
internal sealed class AddressIndex(HostRecords records, int capacity)
{
    private TableMemory _memory = Room((int)BitOperations.RoundUpToPowerOf2((uint)Math.Clamp(capacity + capacity / 2L, 8, 1 << 27)));
    private int _count;

    /// <summary>The host an address belongs to.</summary>
    public bool TryFind(UInt128 address, out NamedHost host)
    {
        host = default;
        if (_count == 0) { return false; }
        Span<Place> places = Places;
        Place place = places[Probe(places, address)];
        if (place.Host == 0) { return false; }
        host = records.Host(place.Host);
        return true;
    }

    /// <summary>The place of the host with this address, to be written when another should have it; 0: none yet, and <paramref name="bytes"/>, the place of the address, is kept with it. Valid until the next call.</summary>
    public ref int HostAt(int bytes, int length)
    {
        if (4L * (_count + 1) > 3L * Places.Length) { Grow(); }
        Span<Place> places = Places;
        ref Place place = ref places[Probe(places, Key(bytes, length))];
        if (place.Host == 0)
        {
            _count++;
            (place.Address, place.Length) = (bytes, length);
        }
        return ref place.Host;
    }

    public void Free() => _memory.Free();

    private Span<Place> Places => MemoryMarshal.Cast<byte, Place>(_memory.Span);

    private static TableMemory Room(int places) => new(checked(places * Unsafe.SizeOf<Place>()));

    private UInt128 Key(int bytes, int length) => MeshAddress.Key(records.Bytes(bytes, length));

    private int Probe(ReadOnlySpan<Place> places, UInt128 address)
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(new ReadOnlySpan<UInt128>(in address));
        int mask = places.Length - 1, i = WireNameComparer.Instance.GetHashCode(bytes) & mask;
        while (places[i].Host != 0 && Key(places[i].Address, places[i].Length) != address) { i = (i + 1) & mask; }
        return i;
    }

    private void Grow()
    {
        TableMemory old = _memory;
        _memory = Room(checked(2 * Places.Length));
        Span<Place> places = Places;
        foreach (Place place in MemoryMarshal.Cast<byte, Place>(old.Span))
        {
            if (place.Host != 0) { places[Probe(places, Key(place.Address, place.Length))] = place; }
        }
        old.Free();
    }

    private struct Place
    {
        public int Address;
        public int Length; // of the address: 4 or 16
        public int Host;
    }
}
