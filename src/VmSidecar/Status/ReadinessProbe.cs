using VmSidecar.Envoy;

namespace VmSidecar.Status;

/// <summary>
/// Answers "is this sidecar ready" in pilot-agent's order, first failure wins: 1 configuration received, 2 not shutting down, 3 Envoy live,
/// 4 certificates on disk, 5 DNS table. Many callers may ask at once; one check runs at a time and its answer is shared for a moment.
/// </summary>
internal sealed class ReadinessProbe(EnvoyReadiness? envoy, ReadinessConditions conditions, TimeProvider time) : IDisposable
{
    private static readonly TimeSpan Shared = TimeSpan.FromMilliseconds(50); // a burst of probes is one check
    private readonly SemaphoreSlim _one = new(1, 1);
    private string? _last = "not checked yet";
    private long _checkedAt = long.MinValue;

    /// <summary>Null when ready, else why not.</summary>
    public async Task<string?> CheckAsync(CancellationToken stop)
    {
        await _one.WaitAsync(stop);
        try
        {
            if (_checkedAt != long.MinValue && time.GetElapsedTime(_checkedAt) < Shared) { return _last; }
            _last = await CheckNowAsync(stop);
            _checkedAt = time.GetTimestamp();
            return _last;
        }
        finally
        {
            _one.Release();
        }
    }

    public void Dispose() => _one.Dispose();

    private async Task<string?> CheckNowAsync(CancellationToken stop)
    {
        if (conditions.Terminating() is { } signal) { return $"server is terminated: received signal: {signal}"; }
        if (envoy is not null && await envoy.CheckAsync(stop) is { } problem) { return problem; }
        return conditions.Certificates() ?? conditions.Names();
    }
}

/// <summary>What readiness needs from parts other than Envoy. Each returns null when it holds, else the reason.</summary>
/// <param name="Terminating">The word for the stop (<c>terminated</c>) once one was asked for; null before.</param>
/// <param name="Certificates">Whether the workload's certificates are there.</param>
/// <param name="Names">Whether the DNS table is there.</param>
internal sealed record ReadinessConditions(Func<string?> Terminating, Func<string?> Certificates, Func<string?> Names)
{
    /// <summary>pilot-agent's reason while there is no name table.</summary>
    public const string NoNames = "istio DNS capture is turned ON and DNS lookup table is not ready yet";

    /// <summary>Nothing to wait for.</summary>
    public static ReadinessConditions None { get; } = new(() => null, () => null, () => null);

    /// <summary>The files Envoy and applications read from <paramref name="folder"/>; null folder: nothing to wait for.</summary>
    public static Func<string?> CertificateFiles(string? folder) => () =>
        folder is null ? null
        : CertificateNames.Select(name => Path.Combine(folder, name)).FirstOrDefault(path => !File.Exists(path)) is { } missing ? missing + " does not exist"
        : null;

    private static readonly string[] CertificateNames = ["cert-chain.pem", "key.pem", "root-cert.pem"];
}
