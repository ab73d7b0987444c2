using System.Globalization;
using System.Text;

using VmSidecar.Metrics;

using Xunit;

namespace VmSidecar.Tests.Metrics;

public sealed class ProcessMetricsTests
{
    [Theory]
    [InlineData("istio_agent_process_cpu_seconds_total", 0.01, 1e6)]
    [InlineData("istio_agent_process_open_fds", 3, 1e6)]
    [InlineData("istio_agent_process_max_fds", 16, 1e12)]
    [InlineData("istio_agent_process_resident_memory_bytes", 1e6, 1e12)]
    [InlineData("istio_agent_process_virtual_memory_bytes", 1e6, 1e15)]
    [InlineData("istio_agent_process_virtual_memory_max_bytes", 1e6, 2e19)]
    [InlineData("istio_agent_process_start_time_seconds", 1.5e9, 1e10)]
    public void Each_value_is_read_from_proc(string name, double least, double most)
    {
        var metrics = new MetricRegistry();
        ProcessMetrics.Register(metrics);
        var page = new StringBuilder();
        metrics.WriteTo(page);
        string line = page.ToString().Split('\n').Single(l => l.StartsWith(name + " ", StringComparison.Ordinal));
        Assert.InRange(double.Parse(line.Split(' ')[1], CultureInfo.InvariantCulture), least, most);
    }

    [Fact]
    public void What_cannot_be_read_is_left_out()
    {
        var metrics = new MetricRegistry();
        ProcessMetrics.Register(metrics, "/nonexistent");
        var page = new StringBuilder();
        metrics.WriteTo(page);
        Assert.DoesNotContain("NaN", page.ToString(), StringComparison.Ordinal);
        Assert.Contains("# TYPE istio_agent_process_cpu_seconds_total counter\n", page.ToString(), StringComparison.Ordinal);
    }
}
