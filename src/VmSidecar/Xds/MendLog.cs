using System.Collections.Immutable;

using Microsoft.Extensions.Logging;

namespace VmSidecar.Xds;

/// <summary>Says once what is left out or kept for an Envoy that is not Istio's, and remembers it for status. Owned by <see cref="XdsProxy"/>.</summary>
internal sealed class MendLog(XdsMetrics metrics, ILogger log)
{
    private readonly Lock _gate = new();
    private readonly SortedSet<string> _leftOut = new(StringComparer.Ordinal);
    private readonly SortedSet<string> _configured = new(StringComparer.Ordinal);
    private readonly SortedSet<string> _kept = new(StringComparer.Ordinal);

    /// <summary>Filters left out since the start.</summary>
    public ImmutableArray<string> LeftOut { get { lock (_gate) { return [.. _leftOut]; } } }

    /// <summary>Filters that had to stay, since the start.</summary>
    public ImmutableArray<string> KeptIn { get { lock (_gate) { return [.. _kept]; } } }

    /// <summary>One response was looked at.</summary>
    public void Note(MendReport report, long id)
    {
        metrics.LeftOut.Add(report.Removed.Values.Sum());
        string[] removed, configured, kept;
        lock (_gate)
        {
            removed = [.. report.Removed.Keys.Where(_leftOut.Add)];
            configured = [.. report.Configured.Keys.Where(_configured.Add)];
            kept = [.. report.Kept.Keys.Where(_kept.Add)];
        }
        if (removed.Length > 0) { XdsLog.LeftOut(log, string.Join(", ", removed), id); }
        if (configured.Length > 0) { XdsLog.Configured(log, string.Join(", ", configured), id); }
        if (kept.Length > 0) { XdsLog.Kept(log, string.Join(", ", kept), id); }
    }
}
