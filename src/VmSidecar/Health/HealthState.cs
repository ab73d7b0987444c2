namespace VmSidecar.Health;

/// <summary>The workload's last health verdict. A state, not an event: the relay sends the latest on every stream.</summary>
/// <param name="Healthy">The verdict.</param>
/// <param name="Message">Probe error when unhealthy.</param>
internal sealed record HealthState(bool Healthy, string Message)
{
    /// <summary>The agent's own goodbye at its stop: none follows, and istiod is given the time to read it.</summary>
    public bool IsLast { get; init; }
}
