using System.Security.Cryptography.X509Certificates;

using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Lifecycle;
using VmSidecar.Logging;

namespace VmSidecar.Identity;

/// <summary>The workload's identity from files that somebody else keeps fresh (FILE_MOUNTED_CERTS): no CA. Read at start and at each change; a set that does not hold up never replaces the last good one. Run by CertificateRotator in place of its own loop.</summary>
internal sealed partial class MountedCertificates(MountedFiles files, Published<WorkloadSecrets> secrets, Published<IdentityStatus> status, TimeProvider time, ILogger log)
{
    private string _problem = "";

    /// <summary>Follows the files until cancelled. <paramref name="roots"/> adds the mesh's extra anchors.</summary>
    public async Task RunAsync(TrustBundle trust, Func<string, string?, string> roots, CancellationToken stop)
    {
        using var changes = new FileChanges([files.Chain, files.Key, files.Roots], time);
        while (true)
        {
            (string? anchors, Task trustChanged) = trust.Anchors.Watch();
            Read(text => roots(text, anchors));
            using var wait = CancellationTokenSource.CreateLinkedTokenSource(stop);
            Task changed = changes.ChangedAsync(wait.Token);
            await Task.WhenAny(changed, trustChanged);
            await wait.CancelAsync();
            await changed.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            stop.ThrowIfCancellationRequested();
        }
    }

    private void Read(Func<string, string> merge)
    {
        string problem = "";
        using CertificatePair? pair = CertificatePair.Load(files.Chain, files.Key, out _, out string reason);
        string text = "";
        try { text = File.ReadAllText(files.Roots); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { problem = e.Message; }
        X509Certificate2Collection anchors = PemBundle.Read(text, out _);
        if (problem.Length == 0 && anchors.Count == 0) { problem = $"failed to parse root certs from file {files.Roots}"; }
        if (pair is null) { problem = reason; }
        if (problem.Length == 0 && pair is not null) { Publish(pair, merge(text)); }
        else if (problem != _problem) { Failed(log, problem); }
        _problem = problem;
        WorkloadSecrets? held = secrets.Current;
        IdentityCondition condition = held is null ? IdentityCondition.None : held.NotAfter <= time.GetUtcNow() ? IdentityCondition.Lapsed : IdentityCondition.Good;
        status.Set(new IdentityStatus(condition, held?.NotAfter, null, held?.Created, problem.Length == 0 ? 0 : 1, problem, problem.Length == 0 ? "" : $"Put a matching {files.Chain}, {files.Key} and {files.Roots} in place"));
    }

    private void Publish(CertificatePair pair, string roots)
    {
        WorkloadSecrets? held = secrets.Current;
        if (held is not null && held.ChainPem == pair.ChainPem && held.KeyPem == pair.KeyPem && held.RootsPem == roots) { return; }
        secrets.Set(new WorkloadSecrets(pair.ChainPem, pair.KeyPem, roots, pair.NotBefore, pair.NotAfter, time.GetUtcNow(), pair.Leaf.SerialNumber));
        ReadFiles(log, GoDuration.Format(pair.NotAfter - time.GetUtcNow()));
    }

    [LoggerMessage(1, LogLevel.Information, "cache read certificate from file\tresource=default ttl={Ttl}")]
    private static partial void ReadFiles(ILogger log, string ttl);

    [LoggerMessage(2, LogLevel.Error, "resource:default failed to generate secret for proxy from file: {Problem}")]
    private static partial void Failed(ILogger log, string problem);
}
