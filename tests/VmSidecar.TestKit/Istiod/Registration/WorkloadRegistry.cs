using System.Collections.Immutable;
using System.Globalization;

using VmSidecar.Grpc;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Authentication;

namespace VmSidecar.TestKit.Istiod.Registration;

/// <summary>Registers VMs as WorkloadEntries as istiod does: made at connect, marked at disconnect, removed after the grace period. Thread-safe. Owned by FakeIstiod.</summary>
internal sealed class WorkloadRegistry(IstiodOptions options, Action changed) : IDisposable
{
    private const int LongestName = 253;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, WorkloadGroup> _groups = new(StringComparer.Ordinal);
    private readonly Dictionary<string, WorkloadEntry> _entries = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _entryOfStream = new(StringComparer.Ordinal); // stream id -> ns/name
    private readonly Dictionary<string, ITimer> _removals = new(StringComparer.Ordinal);
    private readonly List<string> _history = [];

    /// <summary>The instance name in annotation workloadController.</summary>
    public string Controller { get; set; } = "istiod-1";

    /// <summary>All entries, by namespace and name.</summary>
    public ImmutableArray<WorkloadEntry> Entries { get { lock (_gate) { return [.. _entries.Values.OrderBy(e => e.Namespace + "/" + e.Name, StringComparer.Ordinal)]; } } }

    /// <summary>What happened, in order: <c>create</c>, <c>connect</c>, <c>disconnect</c>, <c>delete</c>, <c>healthy</c>, <c>unhealthy</c>, each with the entry.</summary>
    public ImmutableArray<string> History { get { lock (_gate) { return [.. _history]; } } }

    public ImmutableArray<WorkloadGroup> Groups { get { lock (_gate) { return [.. _groups.Values]; } } }

    public void Add(WorkloadGroup group) { lock (_gate) { _groups[$"{group.Namespace}/{group.Name}"] = group; } }

    public void RemoveGroup(string ns, string name) { lock (_gate) { _groups.Remove($"{ns}/{name}"); } }

    /// <summary>A stream's node is known: registers it if it asks for that. Null, or the status that ends the stream.</summary>
    public GrpcStatus? Connect(string stream, ProxyNode node, Caller? identity)
    {
        if (node.Group.Length == 0) { return null; }
        string failed = $"auto-registration WorkloadEntry of {node.Name} failed: ";
        lock (_gate)
        {
            if (!_groups.TryGetValue($"{node.Namespace}/{node.Group}", out WorkloadGroup? group))
            {
                GrpcStatusCode code = options.Version == IstiodVersion.V1_10 ? GrpcStatusCode.Unknown : GrpcStatusCode.FailedPrecondition;
                return new GrpcStatus(code, $"{failed}cannot find WorkloadGroup {node.Namespace}/{node.Group}");
            }
            if (options.Version != IstiodVersion.V1_10 && (identity is null ? "registration of WorkloadEntry requires a verified identity" : Mismatch(identity, group)) is { } mismatch) { return new GrpcStatus(GrpcStatusCode.Unknown, mismatch); }
            string name = NameOf(node);
            if (options.Version == IstiodVersion.V1_10 && name.Contains(':'))
            {
                return new GrpcStatus(GrpcStatusCode.Unknown, $"{failed}error creating WorkloadEntry: invalid name \"{name}\"");
            }
            string key = $"{node.Namespace}/{name}";
            bool known = _entries.TryGetValue(key, out WorkloadEntry? entry);
            entry ??= NewEntry(node, group, name);
            _entries[key] = entry with
            {
                Annotations = entry.Annotations.Remove(WorkloadAnnotations.DisconnectedAt)
                    .SetItem(WorkloadAnnotations.ConnectedAt, Now()).SetItem(WorkloadAnnotations.Controller, Controller),
            };
            if (_removals.Remove(key, out ITimer? removal)) { removal.Dispose(); }
            _entryOfStream[stream] = key;
            _history.Add((known ? "connect " : "create ") + key);
        }
        changed();
        return null;
    }

    /// <summary>A stream has ended. The last one of an entry marks it and starts the grace period; a crashed istiod marks nothing.</summary>
    public void Disconnect(string stream, bool graceful = true)
    {
        lock (_gate)
        {
            if (!_entryOfStream.Remove(stream, out string? key) || _entryOfStream.ContainsValue(key) || !_entries.TryGetValue(key, out WorkloadEntry? entry)) { return; }
            if (!graceful) { return; }
            _entries[key] = entry with
            {
                Annotations = entry.Annotations.Remove(WorkloadAnnotations.ConnectedAt).SetItem(WorkloadAnnotations.DisconnectedAt, Now()),
            };
            _history.Add("disconnect " + key);
            _removals[key] = options.Time.CreateTimer(_ => Remove(key), null, options.GracePeriod, Timeout.InfiniteTimeSpan);
        }
        changed();
    }

    /// <summary>A health request came on <paramref name="stream"/>. False: no entry belongs to it.</summary>
    public bool Report(string stream, bool healthy, string message)
    {
        lock (_gate)
        {
            if (!_entryOfStream.TryGetValue(stream, out string? key) || !_entries.TryGetValue(key, out WorkloadEntry? entry)) { return false; }
            _entries[key] = entry with { Healthy = new HealthCondition(healthy, message, options.Time.GetUtcNow()) };
            _history.Add((healthy ? "healthy " : "unhealthy ") + key);
        }
        changed();
        return true;
    }

    public void Dispose()
    {
        lock (_gate)
        {
            foreach (ITimer removal in _removals.Values) { removal.Dispose(); }
            _removals.Clear();
        }
    }

    private void Remove(string key)
    {
        lock (_gate)
        {
            if (!_removals.Remove(key, out ITimer? timer)) { return; } // came back in time
            timer.Dispose();
            _entries.Remove(key);
            _history.Add("delete " + key);
        }
        changed();
    }

    private string? Mismatch(Caller identity, WorkloadGroup group)
    {
        string[] parts = identity.Primary.Split('/'); // spiffe://TD/ns/NS/sa/SA
        return parts[4] != group.Namespace ? $"registration of WorkloadEntry namespace mismatch: \"{parts[4]}\" vs \"{group.Namespace}\""
            : parts[6] != group.ServiceAccount ? $"registration of WorkloadEntry service account mismatch: \"{parts[6]}\" vs \"{group.ServiceAccount}\""
            : null;
    }

    /// <summary>group-ip[-network], at most 253 characters, the last ones kept; 1.31 makes an IPv6 address fit for a name.</summary>
    private string NameOf(ProxyNode node)
    {
        string address = options.Version == IstiodVersion.V1_10 ? node.Addresses[0] : node.Addresses[0].Replace(':', '-');
        string name = $"{node.Group}-{address}" + (node.Network.Length > 0 ? "-" + node.Network : "");
        return name.Length > LongestName ? name[^LongestName..] : name;
    }

    private WorkloadEntry NewEntry(ProxyNode node, WorkloadGroup group, string name)
    {
        IEnumerable<KeyValuePair<string, string>> own = node.Labels.Where(l => options.Version == IstiodVersion.V1_10 || l.Key != "istio-locality");
        ImmutableDictionary<string, string> annotations = ImmutableDictionary<string, string>.Empty.Add(WorkloadAnnotations.Group, group.Name);
        return new WorkloadEntry(node.Namespace, name, node.Addresses[0])
        {
            Group = group.Name,
            ServiceAccount = group.ServiceAccount,
            Network = node.Network.Length > 0 ? node.Network : group.Network,
            Locality = node.Locality is { } l ? string.Join('/', new[] { l.Region, l.Zone, l.SubZone }.TakeWhile(p => p.Length > 0)) : "",
            Labels = group.TemplateLabels.SetItems(group.MetadataLabels).SetItems(own),
            Annotations = node.HasProbe ? annotations.Add(WorkloadAnnotations.HealthChecks, "true") : annotations,
        };
    }

    private string Now() => options.Time.GetUtcNow().UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fffffff'Z'", CultureInfo.InvariantCulture);
}
