using VmSidecar.Linux.Processes;
using VmSidecar.Metrics;

namespace VmSidecar.Envoy;

/// <summary>The supervisor's metrics, all present from zero.</summary>
internal sealed class EnvoyMetrics(MetricRegistry metrics)
{
    private const string Restarts = "envoy_restarts_total";
    private const string RestartsHelp = "Ends of Envoy that nobody asked for, by how it ended.";
    private readonly Gauge _up = metrics.Gauge("envoy_up", "1 while an Envoy process runs.");
    private readonly Counter _starts = metrics.Counter("envoy_starts_total", "Envoy processes started.");
    private readonly Gauge _drain = metrics.Gauge("drain_seconds", "How long the last drain took.");
    private readonly Counter _exited = metrics.Counter(Restarts, RestartsHelp, "reason=\"exited\"");
    private readonly Counter _failed = metrics.Counter(Restarts, RestartsHelp, "reason=\"failed\"");
    private readonly Counter _killed = metrics.Counter(Restarts, RestartsHelp, "reason=\"killed\"");
    private readonly Counter _crashed = metrics.Counter(Restarts, RestartsHelp, "reason=\"crashed\"");

    public void Started()
    {
        _up.Value = 1;
        _starts.Add();
    }

    public void Adopted() => _up.Value = 1;

    public void Stopped() => _up.Value = 0;

    public void Drained(TimeSpan took) => _drain.Value = took.TotalSeconds;

    public void Restarted(ChildExit exit) =>
        (exit.IsNormal ? _exited : exit.IsKilled ? _killed : exit.Signal != 0 ? _crashed : _failed).Add();
}
