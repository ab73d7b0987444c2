using Microsoft.Extensions.Logging;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>Says when a push gave a host another virtual IP (reference 04 trap 28): for the life of a TTL its clients talk to somebody else.</summary>
internal static class VipMoves
{
    private const int Named = 3; // hosts named per push; the rest is a number

    /// <summary>Compares two tables; logs at most a few lines.</summary>
    public static void Report(NameTable before, NameTable after, ILogger log)
    {
        int moved = 0, steps = 0;
        foreach (HostEntry entry in after.Hosts)
        {
            Breather.Step(ref steps);
            NamedHost host = entry.Host;
            if (host.Source != HostSource.External || host.V4.Length != 4 || !MeshAddress.IsVirtual(MeshAddress.Key(host.V4))) { continue; }
            if (!before.Hosts.TryGetValue(entry.Name, out NamedHost old) || old.V4.Length != 4 || old.V4.SequenceEqual(host.V4)) { continue; }
            if (!MeshAddress.IsVirtual(MeshAddress.Key(old.V4))) { continue; }
            if (++moved <= Named) { DnsLog.VipMoved(log, WireName.ToText(entry.Name), MeshAddress.ToText(old.V4), MeshAddress.ToText(host.V4)); }
        }
        if (moved > Named) { DnsLog.MoreVipsMoved(log, moved - Named); }
    }
}
