using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;

namespace VmSidecar.Dns;

/// <summary>Which host has which slot, and which slots rest after their host went.</summary>
/// <param name="Hosts">Slots in use, by lower-case host.</param>
/// <param name="Resting">Hosts that went, with their slot and when: clients may remember the address.</param>
internal sealed record VipAssignments(ImmutableSortedDictionary<string, int> Hosts, ImmutableSortedDictionary<string, RestingVip> Resting)
{
    public static readonly VipAssignments Empty = new(ImmutableSortedDictionary.Create<string, int>(StringComparer.Ordinal), ImmutableSortedDictionary.Create<string, RestingVip>(StringComparer.Ordinal));
}

/// <summary>A slot that waits to be free again.</summary>
internal readonly record struct RestingVip(int Slot, DateTimeOffset Since);

/// <summary>
/// Gives hosts virtual addresses of the agent's own (240.241.0.0/16 and 2001:2:0:f1f1::/64, apart from istiod's ranges). Pure. A host's hash names its
/// slot, the next free one is taken on collision; nobody is ever moved; a host that comes back within the rest gets its old address.
/// </summary>
internal static class VipAllocator
{
    public const int Slots = 256 * 254; // last octets 1 to 254: some stacks treat .0 and .255 as broadcast
    public static readonly TimeSpan Rest = TimeSpan.FromHours(24); // far beyond any TTL: applications keep addresses longer

    /// <summary>The assignments for exactly these hosts. The order of <paramref name="hosts"/> does not matter. When all slots are taken the hosts left over stay without one.</summary>
    public static VipAssignments Assign(VipAssignments current, IReadOnlyCollection<string> hosts, DateTimeOffset now)
    {
        var wanted = new SortedSet<string>(hosts, StringComparer.Ordinal);
        var taken = new HashSet<int>(current.Hosts.Values);
        ImmutableSortedDictionary<string, int>.Builder inUse = current.Hosts.ToBuilder();
        ImmutableSortedDictionary<string, RestingVip>.Builder resting = current.Resting.ToBuilder();

        foreach ((string host, int slot) in current.Hosts)
        {
            if (wanted.Contains(host)) { continue; }
            inUse.Remove(host);
            resting[host] = new(slot, now);
        }
        foreach ((string host, RestingVip rest) in current.Resting)
        {
            if (now - rest.Since >= Rest && !wanted.Contains(host)) { resting.Remove(host); }
            else { taken.Add(rest.Slot); }
        }
        foreach (string host in wanted)
        {
            if (inUse.ContainsKey(host)) { continue; }
            if (resting.Remove(host, out RestingVip back)) { inUse[host] = back.Slot; continue; }
            if (taken.Count >= Slots) { break; }
            int slot = HashSlot(host);
            while (!taken.Add(slot)) { slot = (slot + 1) % Slots; }
            inUse[host] = slot;
        }
        return new(inUse.ToImmutable(), resting.ToImmutable());
    }

    /// <summary>240.241.a.b.</summary>
    public static byte[] ToV4(int slot) => [240, 241, (byte)(slot / 254), (byte)(slot % 254 + 1)];

    /// <summary>2001:2:0:f1f1::n, n from 1.</summary>
    public static byte[] ToV6(int slot) => [0x20, 0x01, 0x00, 0x02, 0, 0, 0xf1, 0xf1, 0, 0, 0, 0, 0, 0, (byte)((slot + 1) >> 8), (byte)(slot + 1)];

    /// <summary>Where a host would like to be; the same on every machine and in every version.</summary>
    public static int HashSlot(string host)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(Encoding.UTF8.GetBytes(host), hash);
        return (int)(System.Buffers.Binary.BinaryPrimitives.ReadUInt32BigEndian(hash) % Slots);
    }
}
