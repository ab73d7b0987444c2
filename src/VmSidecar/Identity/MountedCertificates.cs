using System.Globalization;
using System.Security.Cryptography.X509Certificates;

using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Lifecycle;
using VmSidecar.Logging;

namespace VmSidecar.Identity;

/// <summary>
/// The workload's identity from files that somebody else keeps fresh (FILE_MOUNTED_CERTS, a platform's mount): no CA. Read at start and at each
/// change; a set that does not hold up never replaces the last good one. Looks at the clock too: files that nobody replaces lapse in silence.
/// Run by CertificateRotator in place of its own loop.
/// </summary>
internal sealed partial class MountedCertificates(
    MountedFiles files, Published<WorkloadSecrets> secrets, OutputCertificates output, Published<IdentityStatus> status, TimeProvider time, ILogger log)
{
    private string _problem = "";
    private IdentityCondition _condition = IdentityCondition.Waiting;

    private string Fix => $"Put a matching {files.Chain}, {files.Key} and {files.Roots} in place";

    /// <summary>Follows the files until cancelled. <paramref name="roots"/> adds the mesh's extra anchors.</summary>
    public async Task RunAsync(TrustBundle trust, Func<string, string?, string> roots, CancellationToken stop)
    {
        using var changes = new FileChanges([files.Chain, files.Key, files.Roots], time);
        Task changed = changes.ChangedAsync(stop);
        while (true)
        {
            (string? anchors, Task trustChanged) = trust.Anchors.Watch();
            if (Read(text => roots(text, anchors)) is { } fresh) { await output.WriteAsync(fresh, CancellationToken.None); }
            do { Look(); }
            while (!await SleptAsync(changed, trustChanged, stop));
            if (changed.IsCompleted)
            {
                await changed;
                changed = changes.ChangedAsync(stop);
            }
        }
    }

    /// <summary>True when something has changed, false when only time has passed.</summary>
    private async Task<bool> SleptAsync(Task changed, Task trustChanged, CancellationToken stop)
    {
        using var nap = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Task timer = Task.Delay(RotationPolicy.LongestSleep, time, nap.Token);
        await Task.WhenAny(changed, trustChanged, timer);
        await nap.CancelAsync();
        await timer.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        stop.ThrowIfCancellationRequested();
        return changed.IsCompleted || trustChanged.IsCompleted;
    }

    /// <summary>The new set, when there is one that holds up.</summary>
    private WorkloadSecrets? Read(Func<string, string> merge)
    {
        string problem = "";
        using CertificatePair? pair = CertificatePair.Load(files.Chain, files.Key, out _, out string reason);
        string text = "";
        try { text = File.ReadAllText(files.Roots); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { problem = e.Message; }
        X509Certificate2Collection anchors = PemBundle.Read(text, out _);
        if (problem.Length == 0 && anchors.Count == 0) { problem = $"failed to parse root certs from file {files.Roots}"; }
        if (pair is null) { problem = reason; }
        WorkloadSecrets? fresh = problem.Length == 0 && pair is not null ? Publish(pair, merge(text)) : null;
        if (problem.Length > 0 && problem != _problem) { Failed(log, problem, Fix); }
        _problem = problem;
        return fresh;
    }

    private void Look()
    {
        WorkloadSecrets? held = secrets.Current;
        IdentityCondition condition = RotationPolicy.MountedCondition(held, time.GetUtcNow());
        if (condition != _condition && condition is (IdentityCondition.Lapsing or IdentityCondition.Lapsed))
        {
            string end = held!.NotAfter.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
            NotReplaced(log, condition == IdentityCondition.Lapsing ? "ends" : "has ended", end, Fix);
        }
        _condition = condition;
        string advice = condition == IdentityCondition.Good && _problem.Length == 0 ? "" : Fix;
        status.Set(new IdentityStatus(condition, held?.NotAfter, null, held?.Created, _problem.Length == 0 ? 0 : 1, _problem, advice) { Source = "files" });
    }

    private WorkloadSecrets? Publish(CertificatePair pair, string roots)
    {
        WorkloadSecrets? held = secrets.Current;
        if (held is not null && held.ChainPem == pair.ChainPem && held.KeyPem == pair.KeyPem && held.RootsPem == roots) { return null; }
        var fresh = new WorkloadSecrets(pair.ChainPem, pair.KeyPem, roots, pair.NotBefore, pair.NotAfter, time.GetUtcNow(), pair.Leaf.SerialNumber);
        secrets.Set(fresh);
        ReadFiles(log, GoDuration.Format(pair.NotAfter - time.GetUtcNow()));
        return fresh;
    }

    [LoggerMessage(1, LogLevel.Information, "cache read certificate from file\tresource=default ttl={Ttl}")]
    private static partial void ReadFiles(ILogger log, string ttl);

    [LoggerMessage(2, LogLevel.Error, "resource:default failed to generate secret for proxy from file: {Problem}. {Fix}")]
    private static partial void Failed(ILogger log, string problem, string fix);

    [LoggerMessage(3, LogLevel.Error, "the mounted workload certificate {Ends} at {When} and nobody has replaced it. {Fix}")]
    private static partial void NotReplaced(ILogger log, string ends, string when, string fix);
}
