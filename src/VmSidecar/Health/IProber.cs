namespace VmSidecar.Health;

/// <summary>One way of asking the workload how it is.</summary>
internal interface IProber
{
    /// <summary>Null when healthy, else the error istiod will show. Ends within the probe's timeout; throws only for <paramref name="stop"/>.</summary>
    Task<string?> ProbeAsync(CancellationToken stop);
}
