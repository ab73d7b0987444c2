using System.Text;

namespace VmSidecar.Metrics;

/// <summary>Counts by upper bound, with sum. Lock-free; a scrape may see a sample half counted.</summary>
internal sealed class Histogram(double[] bounds) : IMetricSeries
{
    private readonly long[] _counts = new long[bounds.Length + 1];
    private double _sum;

    public void Record(double value)
    {
        int slot = 0;
        while (slot < bounds.Length && value > bounds[slot]) { slot++; }
        Interlocked.Increment(ref _counts[slot]);
        double seen = Volatile.Read(ref _sum);
        while (Interlocked.CompareExchange(ref _sum, seen + value, seen) is double now && now != seen) { seen = now; }
    }

    public void WriteTo(StringBuilder page, string name, string labels)
    {
        string lead = labels.Length == 0 ? "" : labels + ",";
        long total = 0;
        for (int i = 0; i <= bounds.Length; i++)
        {
            total += Interlocked.Read(ref _counts[i]);
            string bound = i < bounds.Length ? MetricRegistry.Number(bounds[i]) : "+Inf";
            page.Append(name).Append("_bucket{").Append(lead).Append("le=\"").Append(bound).Append("\"} ").Append(total).Append('\n');
        }
        page.Append(name).Append("_sum").Append(MetricRegistry.Braces(labels)).Append(' ').Append(MetricRegistry.Number(Volatile.Read(ref _sum))).Append('\n');
        page.Append(name).Append("_count").Append(MetricRegistry.Braces(labels)).Append(' ').Append(total).Append('\n');
    }
}
