using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Text.RegularExpressions;

namespace VmSidecar.MiniEnvoy.Observed;

/// <summary>Counters and gauges by Envoy's names. Only names that the bootstrap's inclusion list lets through exist, as in Envoy. Thread-safe.</summary>
internal sealed class StatStore(ImmutableArray<(string Kind, string Text)> patterns)
{
    private readonly ConcurrentDictionary<string, Stat> _stats = new();

    /// <summary>Makes a stat with value 0, not yet "used".</summary>
    public void Declare(string name, bool gauge = false)
    {
        if (Included(name)) { _stats.TryAdd(name, new Stat(gauge)); }
    }

    public void Add(string name, long by = 1)
    {
        if (Included(name)) { _stats.GetOrAdd(name, static _ => new Stat(false)).Add(by); }
    }

    public void Move(string name, long by)
    {
        if (Included(name)) { _stats.GetOrAdd(name, static _ => new Stat(true)).Add(by); }
    }

    public void Set(string name, long value)
    {
        if (Included(name)) { _stats.GetOrAdd(name, static _ => new Stat(true)).Set(value); }
    }

    /// <summary>Names and values in order of name.</summary>
    public IEnumerable<(string Name, long Value, bool Gauge)> Read(bool usedOnly, Regex? filter) =>
        from stat in _stats.OrderBy(s => s.Key, StringComparer.Ordinal)
        where (!usedOnly || stat.Value.Used) && (filter is null || filter.IsMatch(stat.Key))
        select (stat.Key, stat.Value.Value, stat.Value.Gauge);

    private bool Included(string name) => patterns.IsEmpty || patterns.Any(p => p.Kind switch
    {
        "prefix" => name.StartsWith(p.Text, StringComparison.Ordinal),
        "suffix" => name.EndsWith(p.Text, StringComparison.Ordinal),
        "exact" => name == p.Text,
        "contains" => name.Contains(p.Text, StringComparison.Ordinal),
        "safe_regex" => Regex.IsMatch(name, $"^(?:{p.Text})$", RegexOptions.NonBacktracking),
        _ => false,
    });

    private sealed class Stat(bool gauge)
    {
        private long _value;
        private volatile bool _used;

        public bool Gauge => gauge;

        public bool Used => _used;

        public long Value => Interlocked.Read(ref _value);

        public void Add(long by)
        {
            Interlocked.Add(ref _value, by);
            _used = true;
        }

        public void Set(long value)
        {
            Interlocked.Exchange(ref _value, value);
            _used = true;
        }
    }
}
