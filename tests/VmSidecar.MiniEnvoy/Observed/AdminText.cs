using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

using VmSidecar.MiniEnvoy.Resources;

namespace VmSidecar.MiniEnvoy.Observed;

/// <summary>The admin API's answers in text. Pure.</summary>
internal static partial class AdminText
{
    public static string Listeners(ListenerSet listeners) =>
        string.Concat(listeners.Active.Where(l => l.IsBound).Select(l => string.Create(CultureInfo.InvariantCulture, $"{l.Name}::{l.Address}\n")));

    public static string Clusters(ClusterSet clusters)
    {
        var text = new StringBuilder();
        foreach (ClusterEntry cluster in clusters.All)
        {
            text.Append(CultureInfo.InvariantCulture, $"{cluster.Name}::observability_name::{cluster.Name}\n");
            text.Append(CultureInfo.InvariantCulture, $"{cluster.Name}::added_via_api::{(cluster.IsStatic ? "false" : "true")}\n");
            foreach (Upstream host in cluster.Hosts)
            {
                text.Append(CultureInfo.InvariantCulture, $"{cluster.Name}::{host.Text}::health_flags::{(host.IsHealthy ? "healthy" : "/failed_eds_health")}\n");
                text.Append(CultureInfo.InvariantCulture, $"{cluster.Name}::{host.Text}::weight::{host.Weight}\n");
            }
        }
        return text.ToString();
    }

    public static string Prometheus(IEnumerable<(string Name, long Value, bool Gauge)> stats)
    {
        var text = new StringBuilder();
        foreach ((string name, long value, bool gauge) in stats)
        {
            string flat = "envoy_" + Unsafe().Replace(name, "_");
            text.Append(CultureInfo.InvariantCulture, $"# TYPE {flat} {(gauge ? "gauge" : "counter")}\n{flat}{{}} {value}\n\n");
        }
        return text.ToString();
    }

    [GeneratedRegex("[^a-zA-Z0-9_]")]
    private static partial Regex Unsafe();
}
