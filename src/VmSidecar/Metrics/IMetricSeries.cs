using System.Text;

namespace VmSidecar.Metrics;

/// <summary>One labelled series of a family.</summary>
internal interface IMetricSeries
{
    /// <summary>Appends its sample lines.</summary>
    void WriteTo(StringBuilder page, string name, string labels);
}
