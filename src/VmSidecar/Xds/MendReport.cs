namespace VmSidecar.Xds;

/// <summary>What was changed in resources for an Envoy that is not Istio's. Filled by <see cref="ResourceMender"/>; counts by filter or extension name.</summary>
internal sealed class MendReport
{
    private readonly SortedDictionary<string, int> _removed = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, int> _configured = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, int> _kept = new(StringComparer.Ordinal);

    /// <summary>Filters taken out.</summary>
    public IReadOnlyDictionary<string, int> Removed => _removed;

    /// <summary>Extensions given the configuration they lacked.</summary>
    public IReadOnlyDictionary<string, int> Configured => _configured;

    /// <summary>Filters that Envoy lacks and that stay all the same, because an access decision reads what they write.</summary>
    public IReadOnlyDictionary<string, int> Kept => _kept;

    /// <summary>True when bytes were changed.</summary>
    public bool Changed => _removed.Count + _configured.Count > 0;

    public void Remove(string name) => Count(_removed, name);

    public void Configure(string name) => Count(_configured, name);

    public void Keep(string name) => Count(_kept, name);

    private static void Count(SortedDictionary<string, int> counts, string name) => counts[name] = counts.GetValueOrDefault(name) + 1;
}
