using System.Collections.Concurrent;

using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Clusters;
using VmSidecar.EnvoyApi.Endpoints;
using VmSidecar.MiniEnvoy.Observed;
using VmSidecar.MiniEnvoy.Startup;
using VmSidecar.MiniEnvoy.Xds;

namespace VmSidecar.MiniEnvoy.Resources;

/// <summary>All clusters. Changed by the ADS loop only; read by connections. A changed cluster replaces the old one when it is warm.</summary>
internal sealed class ClusterSet
{
    private readonly ConcurrentDictionary<string, ClusterEntry> _active = new();
    private readonly Dictionary<string, ClusterEntry> _warming = [];
    private readonly SecretStore _secrets;
    private readonly StatStore _stats;
    private volatile Action? _woken;

    public ClusterSet(Bootstrap bootstrap, SecretStore secrets, StatStore stats)
    {
        _secrets = secrets;
        _stats = stats;
        secrets.Changed = () => _woken?.Invoke();
        foreach (Cluster cluster in bootstrap.Clusters) { _active[cluster.Name] = new ClusterEntry(cluster, secrets, isStatic: true); }
    }

    /// <summary>Called when a secret came, so that the ADS loop looks again.</summary>
    public Action? Woken { set => _woken = value; }

    public string Version { get; private set; } = "";

    /// <summary>CDS has answered once.</summary>
    public bool IsReceived { get; private set; }

    public IEnumerable<ClusterEntry> All => _active.Values.OrderBy(c => c.Name, StringComparer.Ordinal);

    /// <summary>No cluster waits for endpoints or secrets.</summary>
    public bool IsWarm
    {
        get
        {
            Promote();
            return _warming.Count == 0;
        }
    }

    public IEnumerable<string> EdsNames => _active.Values.Concat(_warming.Values).Select(c => c.EdsName).OfType<string>().Distinct();

    public ClusterEntry? Find(string name) => _active.GetValueOrDefault(name);

    /// <summary>Applies CDS: good clusters are taken, each bad one adds an error.</summary>
    public void Apply(Update update, List<string> errors)
    {
        var seen = new HashSet<string>();
        foreach ((_, Any resource) in update.Resources)
        {
            Cluster cluster = Cluster.Parser.ParseFrom(resource.Value);
            try
            {
                if (!seen.Add(cluster.Name)) { throw new RejectedException($"duplicate cluster {cluster.Name} found"); }
                Take(cluster);
            }
            catch (RejectedException e) { errors.Add($"Error adding/updating cluster(s) {cluster.Name}: {e.Message}"); }
        }
        IEnumerable<string> gone = update.IsFull ? _active.Values.Where(c => !c.IsStatic).Select(c => c.Name).Concat(_warming.Keys).Where(n => !seen.Contains(n)) : update.Removed;
        foreach (string name in gone.ToArray())
        {
            _warming.Remove(name);
            if (Find(name) is { IsStatic: false }) { _active.TryRemove(name, out _); }
        }
        IsReceived = true;
        if (errors.Count == 0) { Version = update.Version; }
        Promote();
    }

    /// <summary>Applies one assignment to every cluster that waits for it or uses it.</summary>
    public void Apply(ClusterLoadAssignment assignment)
    {
        foreach (ClusterEntry cluster in _active.Values.Concat(_warming.Values).Where(c => c.EdsName == assignment.ClusterName)) { cluster.Assign(assignment); }
        Promote();
    }

    private void Take(Cluster cluster)
    {
        ClusterEntry? earlier = _warming.GetValueOrDefault(cluster.Name) ?? Find(cluster.Name);
        if (earlier is { IsStatic: true }) { throw new RejectedException("a static cluster of that name exists"); }
        if (earlier is not null && earlier.Config.ToByteString().Equals(cluster.ToByteString())) { return; }
        var entry = new ClusterEntry(cluster, _secrets, isStatic: false);
        if (earlier is not null) { entry.TakeHostsOf(earlier); }
        _warming[cluster.Name] = entry;
    }

    private void Promote()
    {
        foreach (ClusterEntry ready in _warming.Values.Where(c => c.IsWarm).ToArray())
        {
            _warming.Remove(ready.Name);
            _active[ready.Name] = ready;
        }
        _stats.Set("cluster_manager.active_clusters", _active.Count);
        _stats.Set("cluster_manager.warming_clusters", _warming.Count);
    }
}
