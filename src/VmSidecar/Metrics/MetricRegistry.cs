using System.Collections.Concurrent;
using System.Globalization;
using System.Text;

namespace VmSidecar.Metrics;

/// <summary>The agent's own metrics. Names are given without the prefix <c>istio_agent_</c>. Series exist from zero as soon as they are made.</summary>
internal sealed class MetricRegistry
{
    private readonly ConcurrentDictionary<string, Family> _families = new(StringComparer.Ordinal);

    /// <summary>A counter series; <paramref name="labels"/> as <c>type="error"</c>, empty for none. The same name and labels give the same counter.</summary>
    public Counter Counter(string name, string help, string labels = "") =>
        (Counter)Get(name, help, "counter").Series.GetOrAdd(labels, _ => new Counter());

    /// <summary>A settable gauge.</summary>
    public Gauge Gauge(string name, string help, string labels = "") =>
        (Gauge)Get(name, help, "gauge").Series.GetOrAdd(labels, _ => new Gauge());

    /// <summary>A gauge read when scraped; NaN leaves the series out.</summary>
    public void Observe(string name, string help, Func<double> read, string labels = "") =>
        Get(name, help, "gauge").Series[labels] = new ObservedGauge(read);

    /// <summary>A counter kept elsewhere, read when scraped; NaN leaves the series out.</summary>
    public void ObserveCounter(string name, string help, Func<double> read, string labels = "") =>
        Get(name, help, "counter").Series[labels] = new ObservedGauge(read);

    /// <summary>A histogram with the given upper bounds.</summary>
    public Histogram Histogram(string name, string help, double[] bounds, string labels = "") =>
        (Histogram)Get(name, help, "histogram").Series.GetOrAdd(labels, _ => new Histogram(bounds));

    /// <summary>Appends the Prometheus text format 0.0.4 of all families in name order.</summary>
    public void WriteTo(StringBuilder page)
    {
        foreach ((string name, Family family) in _families.OrderBy(f => f.Key, StringComparer.Ordinal))
        {
            string full = "istio_agent_" + name;
            page.Append("# HELP ").Append(full).Append(' ').Append(family.Help).Append('\n');
            page.Append("# TYPE ").Append(full).Append(' ').Append(family.Kind).Append('\n');
            foreach ((string labels, IMetricSeries series) in family.Series.OrderBy(s => s.Key, StringComparer.Ordinal))
            {
                series.WriteTo(page, full, labels);
            }
        }
    }

    internal static string Number(double value) => value.ToString("R", CultureInfo.InvariantCulture);

    internal static string Braces(string labels) => labels.Length == 0 ? "" : "{" + labels + "}";

    private Family Get(string name, string help, string kind) => _families.GetOrAdd(name, _ => new Family(help, kind));

    private sealed record Family(string Help, string Kind)
    {
        public ConcurrentDictionary<string, IMetricSeries> Series { get; } = new(StringComparer.Ordinal);
    }
}
