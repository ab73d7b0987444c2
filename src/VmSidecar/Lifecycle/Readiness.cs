using System.Collections.Concurrent;

namespace VmSidecar.Lifecycle;

/// <summary>Named conditions that must all hold before the agent is ready. Written by components, read by the status server and sd_notify.</summary>
internal sealed class Readiness
{
    private readonly ConcurrentDictionary<string, string?> _waiting = new();

    /// <summary>Declares a condition that does not hold yet, with the reason an operator reads meanwhile.</summary>
    public void Await(string condition, string reason) => _waiting[condition] = reason;

    /// <summary>The condition holds.</summary>
    public void Reached(string condition) => _waiting.TryRemove(condition, out _);

    /// <summary>Reasons of all conditions that do not hold, in name order; empty when ready.</summary>
    public IReadOnlyList<string> Missing => [.. _waiting.OrderBy(p => p.Key, StringComparer.Ordinal).Select(p => p.Value ?? p.Key)];
}
