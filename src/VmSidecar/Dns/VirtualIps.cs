using System.Collections.Frozen;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using System.Text;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using VmSidecar.Configuration;
using VmSidecar.Linux.Files;
using VmSidecar.Wire.Dns;

namespace VmSidecar.Dns;

/// <summary>
/// Keeps the table of the agent's own virtual IPs: hosts seen in clusters, less those istiod's name table knows, whose word always wins at once.
/// A host counts only after a short rest: istiod sends clusters first and the names for them a moment later. Owned by <see cref="DnsServer"/>.
/// Called by the relay (hosts) and the name table's sink (names), and by the two loops here; one lock orders them.
/// </summary>
internal sealed class VirtualIps(DnsOptions options, DnsState state, TimeProvider time, ILogger log) : IServiceHostSink
{
    private const UnixFileMode Mode = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly Lock _gate = new();
    // the newest assignments only, never more than one waiting
    private readonly Channel<VipAssignments> _toSave = Channel.CreateBounded<VipAssignments>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true });
    // a mark that something changed; one is enough
    private readonly Channel<bool> _changed = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true });
    private FrozenSet<string> _hosts = FrozenSet<string>.Empty;
    private VipAssignments _vips = VipAssignments.Empty;
    private bool _hasHosts, _hasNames; // before the first clusters and names of this run the assignments of the last one stand
    private bool _fullSaid, _isBehind;

    public string Path { get; } = System.IO.Path.Combine(options.StateDirectory, "virtual-ips");

    public VipAssignments Current { get { lock (_gate) { return _vips; } } }

    public void Accept(IReadOnlyCollection<string> hosts)
    {
        if (options.VirtualIps == VirtualIpMode.Off) { return; }
        lock (_gate)
        {
            if (_hasHosts && _hosts.SetEquals(hosts)) { return; }
            _hosts = hosts.ToFrozenSet(StringComparer.Ordinal);
            _hasHosts = true;
        }
        _changed.Writer.TryWrite(true);
    }

    /// <summary>The name table changed: what istiod knows now is not answered from here any more, at once; what it forgot may come back.</summary>
    public void NamesChanged(bool fromDisk)
    {
        lock (_gate)
        {
            _hasNames |= !fromDisk;
            if (_vips.Hosts.Count > 0) { Publish(); }
        }
        _changed.Writer.TryWrite(true);
    }

    /// <summary>Gives addresses some time after each change. Ends by the token only.</summary>
    public async Task AssignLoopAsync(CancellationToken stop)
    {
        try
        {
            while (await _changed.Reader.WaitToReadAsync(stop))
            {
                await Task.Delay(LongWait.AtMost(options.VirtualIpRest), time, stop);
                _changed.Reader.TryRead(out _);
                lock (_gate)
                {
                    if (_hasHosts && _hasNames) { TryAssign(); }
                }
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { }
    }

    /// <summary>Starts from the assignments of the last run.</summary>
    public void LoadLast()
    {
        if (options.VirtualIps == VirtualIpMode.Off) { return; }
        try
        {
            if (!File.Exists(Path)) { return; }
            VipAssignments? read = VipFile.Read(File.ReadAllText(Path));
            if (read is null) { DnsLog.DamagedVips(log, Path); return; }
            lock (_gate)
            {
                _vips = read;
                Publish();
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InsufficientMemoryException)
        {
            DnsLog.UnreadableVips(log, Path, e.Message);
        }
    }

    /// <summary>Writes assignments to disk until the token fires; the newest is still written.</summary>
    public async Task SaveLoopAsync(CancellationToken stop)
    {
        try
        {
            while (await _toSave.Reader.WaitToReadAsync(stop)) { await SaveOneAsync(); }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            await SaveOneAsync();
        }
    }

    /// <summary>The ports of the hosts that have a virtual IP now.</summary>
    public IReadOnlyList<VipService> Services()
    {
        VipAssignments vips = Current;
        if (vips.Hosts.Count == 0) { return []; }
        (bool v4, _) = Families();
        using SnapshotUse use = state.Use();
        NameTable names = use.Snapshot.Names;
        return [.. vips.Hosts.Where(h => !Knows(names, h.Key)).SelectMany(h => state.Ports.Of(h.Key).Distinct()
            .Select(port => new VipService(h.Key, MeshAddress.ToText(v4 ? VipAllocator.ToV4(h.Value) : VipAllocator.ToV6(h.Value)), port)))];
    }

    private async Task SaveOneAsync()
    {
        if (!_toSave.Reader.TryRead(out VipAssignments? vips)) { return; }
        try
        {
            Directory.CreateDirectory(options.StateDirectory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            await AtomicFile.WriteAsync(Path, Encoding.UTF8.GetBytes(VipFile.Write(vips)), Mode, CancellationToken.None);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            DnsLog.UnwritableVips(log, Path, e.Message);
        }
    }

    private void TryAssign()
    {
        try { Assign(); }
        catch (InsufficientMemoryException e) { DnsLog.NoMemoryForVips(log, e.Message); }
    }

    private void Assign()
    {
        string[] wanted = Unknown();
        VipAssignments next = VipAllocator.Assign(_vips, wanted, time.GetUtcNow());
        bool isFull = next.Hosts.Count < wanted.Length;
        if (isFull && !_fullSaid) { DnsLog.VipsFull(log, VipAllocator.Slots, wanted.Length - next.Hosts.Count); }
        _fullSaid = isFull;
        bool changed = !next.Hosts.SequenceEqual(_vips.Hosts) || next.Resting.Count != _vips.Resting.Count;
        _vips = next;
        if (changed) { _toSave.Writer.TryWrite(next); }
        if (changed || _isBehind) { Publish(); }
    }

    /// <summary>The hosts the name table does not know.</summary>
    private string[] Unknown()
    {
        using SnapshotUse use = state.Use();
        NameTable names = use.Snapshot.Names;
        return [.. _hosts.Where(h => !Knows(names, h))];
    }

    /// <summary>Answers from the assignments of now. Throws InsufficientMemoryException, and then answers as before.</summary>
    private void Publish()
    {
        _isBehind = true;
        using SnapshotUse use = state.Use();
        using var builder = new NameTableBuilder(state.Scope, _vips.Hosts.Count, 0);
        (bool v4, bool v6) = Families();
        foreach ((string host, int slot) in _vips.Hosts)
        {
            if (WireName.Encode(host) is not { Length: > 1 } name || Knows(use.Snapshot.Names, host)) { continue; }
            builder.Add(new NamedHost(name, v4 ? VipAllocator.ToV4(slot) : [], v6 ? VipAllocator.ToV6(slot) : [], HostSource.LocalVip, hasShortNames: false));
        }
        state.UseVips(builder.Build(), options.VirtualIps == VirtualIpMode.NxDomain);
        _isBehind = false;
    }

    private static bool Knows(NameTable names, string host) => WireName.Encode(host) is { } name && names.Hosts.ContainsKey(name);

    /// <summary>An IPv4 one, or an IPv6 one where the host has nothing else: one family is enough, and the other is NODATA.</summary>
    private static (bool V4, bool V6) Families()
    {
        try
        {
            AddressFamily[] found = [.. NetworkInterface.GetAllNetworkInterfaces().Where(n => n.NetworkInterfaceType != NetworkInterfaceType.Loopback)
                .SelectMany(n => n.GetIPProperties().UnicastAddresses).Where(a => !a.Address.IsIPv6LinkLocal).Select(a => a.Address.AddressFamily)];
            bool onlyV6 = found.Contains(AddressFamily.InterNetworkV6) && !found.Contains(AddressFamily.InterNetwork); // at boot there may be none yet
            return (!onlyV6, onlyV6);
        }
        catch (NetworkInformationException)
        {
            return (true, false);
        }
    }
}
