using System.Text;

namespace VmSidecar.Metrics;

/// <summary>A number read when scraped.</summary>
internal sealed class ObservedGauge(Func<double> read) : IMetricSeries
{
    public void WriteTo(StringBuilder page, string name, string labels)
    {
        double value = read();
        if (!double.IsNaN(value)) { page.Append(name).Append(MetricRegistry.Braces(labels)).Append(' ').Append(MetricRegistry.Number(value)).Append('\n'); }
    }
}
