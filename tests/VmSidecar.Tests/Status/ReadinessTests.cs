using VmSidecar.Metrics;
using VmSidecar.Status;
using VmSidecar.TestKit;
using VmSidecar.Tests.Envoy;

using Xunit;

namespace VmSidecar.Tests.Status;

public sealed class ReadinessTests
{
    private readonly Lines _log = new();
    private readonly ManualTimeProvider _time = new();
    private readonly MetricRegistry _metrics = new();
    private string? _terminating;
    private string? _certificates;
    private string? _names;

    [Fact]
    public async Task The_first_failure_in_order_is_the_reason()
    {
        _terminating = "terminated";
        _certificates = "etc/certs/cert-chain.pem does not exist";
        _names = ReadinessConditions.NoNames;
        Assert.Equal("server is terminated: received signal: terminated", await CheckAsync());
        _terminating = null;
        Assert.Equal("etc/certs/cert-chain.pem does not exist", await CheckAsync());
        _certificates = null;
        Assert.Equal("istio DNS capture is turned ON and DNS lookup table is not ready yet", await CheckAsync());
        _names = null;
        Assert.Null(await CheckAsync());
    }

    [Fact]
    public void The_first_missing_certificate_is_named()
    {
        DirectoryInfo folder = Directory.CreateTempSubdirectory("vsc-certs-");
        try
        {
            Func<string?> condition = ReadinessConditions.CertificateFiles(folder.FullName);
            File.WriteAllText(Path.Combine(folder.FullName, "cert-chain.pem"), "");
            Assert.Equal(Path.Combine(folder.FullName, "key.pem") + " does not exist", condition());
            File.WriteAllText(Path.Combine(folder.FullName, "key.pem"), "");
            File.WriteAllText(Path.Combine(folder.FullName, "root-cert.pem"), "");
            Assert.Null(condition());
            Assert.Null(ReadinessConditions.CertificateFiles(null)());
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task A_change_is_told_once()
    {
        _names = ReadinessConditions.NoNames;
        using var probe = Probe();
        using var watch = new ReadinessWatch(probe, _metrics, _time.GetUtcNow(), _time, _log);
        await watch.StartAsync(CancellationToken.None);
        await TickAsync(TimeSpan.FromSeconds(2));
        Assert.Empty(_log.All); // still coming up
        for (int i = 0; i < 8; i++) { await TickAsync(TimeSpan.FromSeconds(2)); }
        Assert.Equal([$"Warning: Envoy proxy is NOT ready: {ReadinessConditions.NoNames}"], _log.All);

        _names = null;
        await TickAsync(TimeSpan.FromSeconds(2));
        await TickAsync(TimeSpan.FromSeconds(2));
        _certificates = "gone";
        await TickAsync(TimeSpan.FromSeconds(2));
        await TickAsync(TimeSpan.FromSeconds(2));
        await watch.StopAsync(CancellationToken.None);

        Assert.StartsWith("Information: Readiness succeeded in 1", _log.All[1], StringComparison.Ordinal); // seconds: 18 or 19 have passed
        Assert.Equal(["Information: Envoy proxy is ready", "Warning: Envoy proxy is NOT ready: gone"], _log.All.Skip(2));
        Assert.InRange(_metrics.Gauge("startup_duration_seconds", "").Value, 17, 20);
        Assert.Equal("gone", watch.State.Current!.Reason);
    }

    private async Task TickAsync(TimeSpan by)
    {
        await _time.NextTimerAsync(Test.Deadline);
        _time.Advance(by);
    }

    private async Task<string?> CheckAsync()
    {
        using ReadinessProbe probe = Probe();
        return await probe.CheckAsync(CancellationToken.None);
    }

    private ReadinessProbe Probe() => new(null, new ReadinessConditions(() => _terminating, () => _certificates, () => _names), _time);
}
