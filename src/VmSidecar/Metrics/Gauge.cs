using System.Text;

namespace VmSidecar.Metrics;

/// <summary>A number that is set.</summary>
internal sealed class Gauge : IMetricSeries
{
    private double _value;

    public double Value { get => Volatile.Read(ref _value); set => Volatile.Write(ref _value, value); }

    public void WriteTo(StringBuilder page, string name, string labels) =>
        page.Append(name).Append(MetricRegistry.Braces(labels)).Append(' ').Append(MetricRegistry.Number(Value)).Append('\n');
}
