using System.Numerics;
using System.Runtime.InteropServices;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>Finds hosts by address, for PTR. Filled by <see cref="NameTableBuilder"/>, then never written to again; read without a lock and without allocation.</summary>
internal sealed class AddressIndex(HostRecords records, int capacity)
{
    private Place[] _places = new Place[(int)BitOperations.RoundUpToPowerOf2((uint)Math.Clamp(capacity + capacity / 2L, 8, 1 << 30))];
    private int _count;

    /// <summary>The host an address belongs to.</summary>
    public bool TryFind(UInt128 address, out NamedHost host)
    {
        host = default;
        if (_count == 0) { return false; }
        Place place = _places[Probe(address)];
        if (place.Host == 0) { return false; }
        host = records.Host(place.Host);
        return true;
    }

    /// <summary>The place of the host with this address, to be written when another should have it; 0: none yet, and <paramref name="bytes"/>, the place of the address, is kept with it. Valid until the next call.</summary>
    public ref int HostAt(int bytes, int length)
    {
        if (4L * (_count + 1) > 3L * _places.Length) { Grow(); }
        ref Place place = ref _places[Probe(Key(bytes, length))];
        if (place.Host == 0)
        {
            _count++;
            (place.Address, place.Length) = (bytes, length);
        }
        return ref place.Host;
    }

    private UInt128 Key(int bytes, int length) => MeshAddress.Key(records.Bytes(bytes, length));

    private int Probe(UInt128 address)
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(new ReadOnlySpan<UInt128>(in address));
        int mask = _places.Length - 1, i = WireNameComparer.Instance.GetHashCode(bytes) & mask;
        while (_places[i].Host != 0 && Key(_places[i].Address, _places[i].Length) != address) { i = (i + 1) & mask; }
        return i;
    }

    private void Grow()
    {
        Place[] old = _places;
        _places = new Place[checked(2 * old.Length)];
        foreach (Place place in old)
        {
            if (place.Host != 0) { _places[Probe(Key(place.Address, place.Length))] = place; }
        }
    }

    private struct Place
    {
        public int Address;
        public int Length; // of the address: 4 or 16
        public int Host;
    }
}
