using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Listeners;
using VmSidecar.EnvoyApi.Routes;
using VmSidecar.MiniEnvoy.Observed;
using VmSidecar.MiniEnvoy.Startup;
using VmSidecar.MiniEnvoy.Xds;

namespace VmSidecar.MiniEnvoy.Resources;

/// <summary>All listeners and their routes. Changed by the ADS loop only; read by connections. A listener is active when its routes and secrets are there.</summary>
internal sealed class ListenerSet : IAsyncDisposable
{
    private readonly Dictionary<string, ListenerEntry> _warming = [];
    private readonly Dictionary<IPEndPoint, BoundSocket> _sockets = [];
    private readonly ConcurrentDictionary<string, RouteConfiguration> _routes = new();
    private readonly SecretStore _secrets;
    private readonly StatStore _stats;
    private readonly EnvoyLog _log;
    private readonly Func<ListenerSet, ListenerEntry, Socket, CancellationToken, Task> _handle;
    private ImmutableDictionary<string, ListenerEntry> _active = ImmutableDictionary<string, ListenerEntry>.Empty;
    private volatile bool _started;
    private bool _received;

    public ListenerSet(Bootstrap bootstrap, SecretStore secrets, StatStore stats, Func<ListenerSet, ListenerEntry, Socket, CancellationToken, Task> handle, EnvoyLog log)
    {
        (_secrets, _stats, _log, _handle) = (secrets, stats, log, handle);
        foreach (Listener listener in bootstrap.Listeners)
        {
            var entry = new ListenerEntry(listener, secrets, isStatic: true);
            try { Bind(entry); }
            catch (RejectedException e) { throw new BootstrapException($"error adding listener named '{listener.Name}': {e.Message}"); }
            _active = _active.SetItem(entry.Name, entry);
        }
        stats.Declare("listener_manager.workers_started", gauge: true);
    }

    /// <summary>Kept for symmetry with clusters: both wake the ADS loop through the secret store.</summary>
    public Action? Woken { get; set; }

    public string Version { get; private set; } = "";

    public bool WorkersStarted => _started;

    public IEnumerable<ListenerEntry> Active => _active.Values.OrderBy(l => l.Name, StringComparer.Ordinal);

    public IEnumerable<RouteConfiguration> Routes => _routes.Values;

    public IEnumerable<string> RdsNames => _active.Values.Concat(_warming.Values).SelectMany(l => l.AllChains).Select(c => c.RouteName).OfType<string>().Distinct();

    public RouteConfiguration? Route(string name) => _routes.GetValueOrDefault(name);

    /// <summary>The listener for an original destination: the exact address, else the wildcard of that port.</summary>
    public ListenerEntry? Find(IPEndPoint destination)
    {
        ListenerEntry? wildcard = null;
        foreach (ListenerEntry listener in _active.Values)
        {
            if (listener.Address.Port != destination.Port) { continue; }
            if (listener.Address.Address.Equals(destination.Address)) { return listener; }
            if (listener.Address.Address.Equals(IPAddress.Any) || listener.Address.Address.Equals(IPAddress.IPv6Any)) { wildcard = listener; }
        }
        return wildcard;
    }

    /// <summary>Applies LDS: good listeners are taken, each bad one adds an error.</summary>
    public void Apply(Update update, List<string> errors)
    {
        var seen = new HashSet<string>();
        foreach ((_, Any resource) in update.Resources)
        {
            Listener listener = Listener.Parser.ParseFrom(resource.Value);
            try
            {
                if (!seen.Add(listener.Name)) { throw new RejectedException($"duplicate listener {listener.Name} found"); }
                Take(listener);
            }
            catch (RejectedException e) { errors.Add($"Error adding/updating listener(s) {listener.Name}: {e.Message}"); }
        }
        IEnumerable<string> gone = update.IsFull ? _active.Values.Where(l => !l.IsStatic).Select(l => l.Name).Concat(_warming.Keys).Where(n => !seen.Contains(n)) : update.Removed;
        foreach (string name in gone.ToArray()) { Remove(name); }
        _received = true;
        if (errors.Count == 0) { Version = update.Version; }
    }

    public void Apply(RouteConfiguration route) => _routes[route.Name] = route;

    /// <summary>Puts in use what has all it needs; with the first complete set the workers start.</summary>
    public void WarmUp()
    {
        foreach (ListenerEntry ready in _warming.Values.Where(IsWarm).ToArray())
        {
            _warming.Remove(ready.Name);
            _active = _active.SetItem(ready.Name, ready);
            if (_sockets.TryGetValue(ready.Address, out BoundSocket? socket))
            {
                socket.Listener = ready;
                if (_started) { socket.Start(); }
            }
        }
        _stats.Set("listener_manager.total_listeners_active", _active.Count);
        _stats.Set("listener_manager.total_listeners_warming", _warming.Count);
        if (!_started && _received && _warming.Count == 0) { StartWorkers(); }
    }

    public void StartWorkers()
    {
        _started = true;
        foreach (BoundSocket socket in _sockets.Values) { socket.Start(); }
        _stats.Set("listener_manager.workers_started", 1);
        _stats.Set("listener_manager.total_workers_started", 1);
        _log.Write("info", "config", "all dependencies initialized. starting workers");
    }

    /// <summary>Closes listening sockets of dynamic listeners; connections stay.</summary>
    public void Stop(bool inboundOnly)
    {
        foreach (BoundSocket socket in _sockets.Values.Where(s => !inboundOnly || s.Listener.IsInbound)) { socket.StopAccepting(); }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (BoundSocket socket in _sockets.Values) { await socket.DisposeAsync(); }
    }

    private bool IsWarm(ListenerEntry listener) => listener.AllChains.All(c => (c.Tls?.IsReady ?? true) && (c.RouteName is null || _routes.ContainsKey(c.RouteName)));

    private void Take(Listener listener)
    {
        ListenerEntry? earlier = _warming.GetValueOrDefault(listener.Name) ?? _active.GetValueOrDefault(listener.Name);
        if (earlier is not null && earlier.Config.ToByteString().Equals(listener.ToByteString())) { return; }
        var entry = new ListenerEntry(listener, _secrets, isStatic: false);
        Bind(entry);
        _warming[entry.Name] = entry;
        _stats.Add(earlier is null ? "listener_manager.listener_added" : "listener_manager.listener_modified");
    }

    private void Bind(ListenerEntry entry)
    {
        if (!entry.IsBound) { return; }
        if (_sockets.TryGetValue(entry.Address, out BoundSocket? there))
        {
            if (there.Listener.Name != entry.Name) { throw new RejectedException($"error adding listener: '{entry.Name}' has duplicate address '{entry.Address}' as existing listener"); }
            return;
        }
        _sockets[entry.Address] = new BoundSocket(entry, (listener, socket, stop) => _handle(this, listener, socket, stop));
        _stats.Declare(string.Create(CultureInfo.InvariantCulture, $"listener.{entry.Address.Address}_{entry.Address.Port}.downstream_cx_active"), gauge: true);
    }

    private void Remove(string name)
    {
        ListenerEntry? gone = _warming.GetValueOrDefault(name) ?? _active.GetValueOrDefault(name);
        _warming.Remove(name);
        if (gone is null or { IsStatic: true }) { return; }
        _active = _active.Remove(name);
        if (_sockets.Remove(gone.Address, out BoundSocket? socket)) { socket.StopAccepting(); }
        _stats.Add("listener_manager.listener_removed");
    }
}
