using System.Collections.Immutable;
using System.Globalization;
using System.Text;

namespace VmSidecar.TestKit.Istiod.Mesh;

/// <summary>Virtual IPs from 240.240.0.0/16 for hosts without an address: 1.10 counts in the order of its services, 1.31 hashes namespace and host. Pure.</summary>
internal static class VirtualAddresses
{
    private const uint Space = 256 * 254;

    /// <summary>Address by host.</summary>
    public static ImmutableDictionary<string, string> Allocate(IEnumerable<MeshService> services, IstiodVersion version)
    {
        var given = ImmutableDictionary.CreateBuilder<string, string>(StringComparer.Ordinal);
        HashSet<uint> taken = [];
        uint counter = 0;
        foreach (MeshService service in services)
        {
            if (service.IsKubernetes || service.Addresses.Length > 0 || service.Host.StartsWith('*') || given.ContainsKey(service.Host)) { continue; }
            uint place = version == IstiodVersion.V1_10 ? ++counter : Hash($"{service.Namespace}/{service.Host}") % Space + 1;
            while (place % 255 == 0 || !taken.Add(place)) { place = (place + 1) % Space; }
            counter = version == IstiodVersion.V1_10 ? place : counter;
            given[service.Host] = string.Create(CultureInfo.InvariantCulture, $"240.240.{place / 255}.{place % 255}");
        }
        return given.ToImmutable();
    }

    /// <summary>FNV-1a, 32 bits.</summary>
    private static uint Hash(string text)
    {
        uint hash = 2166136261;
        foreach (byte b in Encoding.UTF8.GetBytes(text)) { hash = (hash ^ b) * 16777619; }
        return hash;
    }
}
