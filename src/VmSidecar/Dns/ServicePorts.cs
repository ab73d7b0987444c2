using System.Collections.Concurrent;

namespace VmSidecar.Dns;

/// <summary>The ports of each service, as its clusters name them: what SRV answers are made of. One writer (<see cref="ClusterHosts"/>); read by all workers without a lock.</summary>
internal sealed class ServicePorts
{
    private readonly ConcurrentDictionary<string, ushort[]> _ports = new(StringComparer.Ordinal);

    /// <summary>The ports of a host (lower case, no dot at its end), each once per cluster that has it; empty: not seen.</summary>
    public IReadOnlyList<ushort> Of(string host) => _ports.GetValueOrDefault(host, []);

    /// <summary>A cluster came.</summary>
    public void Add(string host, ushort port) => _ports[host] = [.. _ports.GetValueOrDefault(host, []), port];

    /// <summary>A cluster went.</summary>
    public void Remove(string host, ushort port)
    {
        List<ushort> left = [.. _ports.GetValueOrDefault(host, [])];
        left.Remove(port);
        if (left.Count == 0) { _ports.TryRemove(host, out _); } else { _ports[host] = [.. left]; }
    }

    /// <summary>
    /// The port that <c>_name._tcp</c> means for a host; 0: none. istiod does not tell the names of ports, so it is the port that IANA gives the
    /// name, where the service has it; or, for a Kubernetes service, its only port. Pure over what is known.
    /// </summary>
    public ushort Find(string host, string name, bool isKubernetes)
    {
        ushort[] ports = [.. Of(host).Distinct()];
        foreach (ushort port in PortsNamed(name))
        {
            if (ports.Contains(port)) { return port; }
        }
        return isKubernetes && ports.Length == 1 ? ports[0] : (ushort)0;
    }

    /// <summary>The IANA service names that are looked up by SRV in practice, and the usual second port of two.</summary>
    private static ushort[] PortsNamed(string name) => name switch
    {
        "http" => [80, 8080],
        "https" => [443, 8443],
        "amqp" => [5672],
        "amqps" => [5671],
        "imap" => [143],
        "imaps" => [993],
        "kafka" => [9092],
        "ldap" => [389],
        "ldaps" => [636],
        "mongodb" => [27017],
        "mqtt" => [1883],
        "mysql" => [3306],
        "nats" => [4222],
        "postgresql" => [5432],
        "redis" => [6379],
        "sip" => [5060],
        "sips" => [5061],
        "smtp" => [25],
        "ssh" => [22],
        "submission" => [587],
        "xmpp-client" => [5222],
        "xmpp-server" => [5269],
        _ => [],
    };
}
