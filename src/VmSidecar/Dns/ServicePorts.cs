using System.Collections.Concurrent;
using System.Collections.Frozen;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>The ports of each service, as its clusters name them: what SRV answers are made of. One writer (<see cref="ClusterHosts"/>); read by all workers without a lock.</summary>
internal sealed class ServicePorts
{
    /// <summary>The IANA service names that are looked up by SRV in practice, and the usual second port of two.</summary>
    private static readonly FrozenDictionary<byte[], ushort[]> s_named = new Dictionary<byte[], ushort[]>
    {
        ["http"u8.ToArray()] = [80, 8080],
        ["https"u8.ToArray()] = [443, 8443],
        ["amqp"u8.ToArray()] = [5672],
        ["amqps"u8.ToArray()] = [5671],
        ["imap"u8.ToArray()] = [143],
        ["imaps"u8.ToArray()] = [993],
        ["kafka"u8.ToArray()] = [9092],
        ["ldap"u8.ToArray()] = [389],
        ["ldaps"u8.ToArray()] = [636],
        ["mongodb"u8.ToArray()] = [27017],
        ["mqtt"u8.ToArray()] = [1883],
        ["mysql"u8.ToArray()] = [3306],
        ["nats"u8.ToArray()] = [4222],
        ["postgresql"u8.ToArray()] = [5432],
        ["redis"u8.ToArray()] = [6379],
        ["sip"u8.ToArray()] = [5060],
        ["sips"u8.ToArray()] = [5061],
        ["smtp"u8.ToArray()] = [25],
        ["ssh"u8.ToArray()] = [22],
        ["submission"u8.ToArray()] = [587],
        ["xmpp-client"u8.ToArray()] = [5222],
        ["xmpp-server"u8.ToArray()] = [5269],
    }.ToFrozenDictionary(WireNameComparer.Instance);

    private readonly ConcurrentDictionary<byte[], ushort[]> _ports = new(WireNameComparer.Instance); // by wire name, as questions have it

    /// <summary>The ports of a host (no dot at its end), each once per cluster that has it; empty: not seen, or no name of DNS.</summary>
    public IReadOnlyList<ushort> Of(string host) => WireName.Encode(host) is { } name ? _ports.GetValueOrDefault(name, []) : [];

    /// <summary>A cluster came.</summary>
    public void Add(string host, ushort port)
    {
        if (WireName.Encode(host) is { } name) { _ports[name] = [.. _ports.GetValueOrDefault(name, []), port]; }
    }

    /// <summary>A cluster went.</summary>
    public void Remove(string host, ushort port)
    {
        if (WireName.Encode(host) is not { } name) { return; }
        List<ushort> left = [.. _ports.GetValueOrDefault(name, [])];
        left.Remove(port);
        if (left.Count == 0) { _ports.TryRemove(name, out _); } else { _ports[name] = [.. left]; }
    }

    /// <summary>
    /// The port that <c>_name._tcp</c> means for a host (lower-case wire name); 0: none. istiod does not tell the names of ports, so it is the port that
    /// IANA gives the name, where the service has it; or, for a Kubernetes service, its only port. Pure over what is known; no allocation.
    /// </summary>
    public ushort Find(ReadOnlySpan<byte> host, ReadOnlySpan<byte> name, bool isKubernetes)
    {
        if (!_ports.GetAlternateLookup<ReadOnlySpan<byte>>().TryGetValue(host, out ushort[]? ports)) { return 0; }
        foreach (ushort port in PortsNamed(name))
        {
            if (ports.Contains(port)) { return port; }
        }
        return isKubernetes && !ports.AsSpan().ContainsAnyExcept(ports[0]) ? ports[0] : (ushort)0;
    }

    private static ReadOnlySpan<ushort> PortsNamed(ReadOnlySpan<byte> name) =>
        s_named.GetAlternateLookup<ReadOnlySpan<byte>>().TryGetValue(name, out ushort[]? ports) ? ports : [];
}
