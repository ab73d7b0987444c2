using Microsoft.Extensions.Logging;

namespace VmSidecar.Metrics;

/// <summary>What every component needs and none owns: the clock, the logs, the metrics. Passed as one, to keep constructors short.</summary>
internal sealed record Instruments(TimeProvider Time, ILoggerFactory Logs, MetricRegistry Metrics);
