using System.Text;
using VmSidecar.Wire.Protobuf;

namespace VmSidecar.Dns;

/// <summary>
/// Reads CDS responses on their way to Envoy for the hosts they name and keeps the set current, for <see cref="IServiceHostSink"/>. Looks at names and
/// types only; broken messages are left to Envoy to refuse. Thread-safe: two Envoys may overlap for a moment.
/// </summary>
internal sealed class ClusterHosts(IServiceHostSink sink)
{
    // envoy.service.discovery.v3: both kinds of response have their resources in 2; Resource.resource is 2; Any.value is 2
    private const int Resources = 2, ResourceAny = 2, AnyValue = 2, RemovedResources = 6;
    private const int ClusterName = 1, ClusterType = 2; // envoy.config.cluster.v3.Cluster

    private readonly Lock _gate = new();
    private readonly Dictionary<string, string> _hosts = new(StringComparer.Ordinal); // by cluster; survives a new stream, on which delta may send changes only

    /// <summary>Takes a whole DiscoveryResponse (the full state) or DeltaDiscoveryResponse of clusters.</summary>
    public void Observe(bool delta, ReadOnlySpan<byte> response)
    {
        lock (_gate)
        {
            if (!delta) { _hosts.Clear(); }
            var fields = new ProtoReader(response);
            while (fields.Next())
            {
                if (fields.Is(Resources)) { Take(delta ? Inner(fields.Bytes, ResourceAny) : fields.Bytes); }
                else if (delta && fields.Is(RemovedResources)) { _hosts.Remove(Encoding.UTF8.GetString(fields.Bytes)); }
            }
            sink.Accept([.. _hosts.Values.Distinct(StringComparer.Ordinal)]);
        }
    }

    private void Take(ReadOnlySpan<byte> any)
    {
        var cluster = new ProtoReader(Inner(any, AnyValue));
        string name = "";
        int type = 0;
        while (cluster.Next())
        {
            if (cluster.Is(ClusterName)) { name = Encoding.UTF8.GetString(cluster.Bytes); }
            else if (cluster.Number == ClusterType && cluster.Type == ProtoWireType.Varint) { type = (int)Math.Min(cluster.Value, int.MaxValue); }
        }
        if (ServiceCluster.HostOf(name, type) is { } host) { _hosts[name] = host; }
        else { _hosts.Remove(name); }
    }

    private static ReadOnlySpan<byte> Inner(ReadOnlySpan<byte> message, int number)
    {
        var fields = new ProtoReader(message);
        while (fields.Next())
        {
            if (fields.Is(number)) { return fields.Bytes; }
        }
        return default;
    }
}
