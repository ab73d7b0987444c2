using System.Text;

namespace VmSidecar.Metrics;

/// <summary>A number that only grows.</summary>
internal sealed class Counter : IMetricSeries
{
    private long _value;

    public long Value => Interlocked.Read(ref _value);

    public void Add(long amount = 1) => Interlocked.Add(ref _value, amount);

    public void WriteTo(StringBuilder page, string name, string labels) =>
        page.Append(name).Append(MetricRegistry.Braces(labels)).Append(' ').Append(Value).Append('\n');
}
