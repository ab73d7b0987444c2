namespace VmSidecar.Configuration;

/// <summary>Parsed settings of <c>Status/</c>.</summary>
/// <param name="Port">Status port, 15020; 0: off.</param>
/// <param name="EnvoyPrometheusPort">Where Envoy's own metrics are, 15090.</param>
/// <param name="MetricsLocalhostOnly">METRICS_LOCALHOST_ACCESS_ONLY.</param>
/// <param name="PrometheusAnnotations">ISTIO_PROMETHEUS_ANNOTATIONS, JSON text; null: none.</param>
/// <param name="DnsRequired">Readiness waits for the first name table.</param>
internal sealed record StatusOptions(int Port, int EnvoyPrometheusPort, bool MetricsLocalhostOnly, string? PrometheusAnnotations, bool DnsRequired);
