using System.Collections.Immutable;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using VmSidecar.Configuration;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Sockets;
using VmSidecar.Metrics;

namespace VmSidecar.Dns;

/// <summary>
/// The DNS server of the agent: the first thing it opens, the last it closes. Owns the sockets, the table, the forwarder and their loops.
/// Start order: sockets (the kernel queues what comes), resolv.conf, last table, loops. Needs nothing else of the agent.
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "StopAsync frees everything; a component has no other end")]
internal sealed class DnsServer : IComponent, IReplaceable
{
    private const int BurstBytes = 1 << 20; // some thousand queries wait out a burst or a slow moment; the kernel caps it at rmem_max

    /// <summary>How long an agent that gives way to another waits for upstream: meanwhile nobody reads the sockets.</summary>
    public static readonly TimeSpan LeaveDrain = TimeSpan.FromMilliseconds(300);

    private readonly DnsOptions _options;
    private readonly ILogger _log;
    private readonly DnsMetrics _metrics;
    private readonly DnsState _state;
    private readonly Forwarder _forwarder;
    private readonly LoopWatch _loops;
    private readonly ResolvConfFollower _resolvConf;
    private readonly QueryHandler _handler;
    private readonly TimeProvider _time;
    private readonly Outstanding _outstanding = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly List<Socket> _sockets = [];
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private UdpService? _udp;
    private int _shared;
    private Task _running = Task.CompletedTask;

    public DnsServer(DnsOptions options, MetricRegistry metrics, TimeProvider time, ILogger log)
    {
        _options = options;
        _log = log;
        _time = time;
        _metrics = new(metrics);
        _state = new(new NameScope(options.Namespace, options.Domain, options.Compat110));
        _forwarder = new(options, _metrics, SourcePorts.Outside(ReadEphemeral()), time);
        _loops = new(_forwarder, _metrics, time, log);
        _resolvConf = new(options.ResolvConf, _state, _forwarder, time, log) { Changed = _loops.Look };
        _handler = new(_state, new Answerer(options.Compat110, (uint)options.Ttl.TotalSeconds, (uint)options.HeadlessTtl.TotalSeconds, options.Aliases), _forwarder, _loops, _metrics, log);
        Report = new(_forwarder, time);
        VirtualIps = new(options, _state, time, log);
        Clusters = new(VirtualIps, _state.Ports);
        Names = new(_state, _metrics, new LastTable(options.StateDirectory, time, log), time, log) { Changed = VirtualIps.NamesChanged };
    }

    public string Name => "dns";

    /// <summary>What the agent before this one in the process has left.</summary>
    public ListeningSockets Sockets { get; init; } = new();

    /// <summary>Where the relay puts istiod's tables.</summary>
    public NameTableSink Names { get; }

    /// <summary>Own virtual IPs, for hosts seen in clusters.</summary>
    public VirtualIps VirtualIps { get; }

    /// <summary>Where the relay shows the clusters and routes that pass.</summary>
    public ClusterHosts Clusters { get; }

    /// <summary>The servers questions are forwarded to.</summary>
    public Forwarder Upstreams => _forwarder;

    /// <summary>The newest name table for <c>/debug/ndsz</c>; null before the first.</summary>
    public string? TableJson() => Names.Json();

    /// <summary>What the cache and the servers have to say of a name.</summary>
    public NameReport Report { get; }

    /// <summary>The addresses really bound, UDP and TCP alike.</summary>
    public ImmutableArray<IPEndPoint> Bound { get; private set; } = [];

    /// <summary>Probes local servers for a loop now; otherwise done when they change and from time to time.</summary>
    public void LookForLoops() => _loops.Look();

    public Task Completion => _completion.Task;

    public Task StartAsync(CancellationToken startup)
    {
        var loops = new List<Func<Task>>();
        _udp = new(_options.Io, _handler, _outstanding, e => _completion.TrySetException(e));
        _forwarder.Reading = _udp.Reading;
        foreach (IPEndPoint address in _options.Listen) { Open(address, loops); }
        if (Bound.IsEmpty) { throw new FatalException("dns", $"none of the addresses {string.Join(", ", _options.Listen)} exists on this host", "Bring up the loopback interface, or set DNS_PROXY_ADDR to an address this host has"); }
        _resolvConf.Own = Bound;
        _loops.Own = string.Join(", ", Bound);
        _resolvConf.Read();
        VirtualIps.LoadLast();
        Names.LoadLast();
        _udp.Start();
        loops.Add(() => _resolvConf.RunAsync(_stop.Token));
        loops.Add(() => Names.SaveLoopAsync(_stop.Token));
        loops.Add(() => VirtualIps.AssignLoopAsync(_stop.Token));
        loops.Add(() => VirtualIps.SaveLoopAsync(_stop.Token));
        loops.Add(() => _loops.RunAsync(_stop.Token));
        _running = Task.WhenAll(loops.Select(RunAsync));
        return Task.CompletedTask;
    }

    public Task StopAsync(CancellationToken hard) => EndAsync(static () => { }, hard);

    /// <summary>What upstream owes after a short while is left unanswered: the client's repeat reaches the next agent.</summary>
    public async Task LeaveAsync(CancellationToken hard)
    {
        using var soon = new CancellationTokenSource(LeaveDrain, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(hard, soon.Token);
        await EndAsync(_handler.LeaveUnanswered, either.Token);
    }

    /// <param name="cut">Called before what still waits upstream is cut short.</param>
    /// <param name="hard">Ends the wait for upstream.</param>
    private async Task EndAsync(Action cut, CancellationToken hard)
    {
        await _stop.CancelAsync();
        await _running;
        _udp?.Close();
        Task drained = _outstanding.DrainAsync();
        try { await drained.WaitAsync(hard); }
        catch (OperationCanceledException) when (hard.IsCancellationRequested) { }
        cut();
        await _forwarder.DisposeAsync(); // ends what still waits upstream
        await drained;
        if (_udp is not null) { await _udp.EndAsync(); }
        foreach (Socket socket in _sockets) { socket.Dispose(); }
        _stop.Dispose();
        _completion.TrySetResult();
    }

    /// <summary>Opens UDP and TCP on one address and port. An IPv6 address on a host without IPv6 is left out with a warning.</summary>
    private void Open(IPEndPoint address, List<Func<Task>> loops)
    {
        try
        {
            (Socket udp, Socket tcp) = BindBoth(address);
            var bound = (IPEndPoint)udp.LocalEndPoint!;
            tcp.Listen(512);
            DnsLog.StartingUdp(_log, bound);
            DnsLog.StartingTcp(_log, bound);
            Bound = Bound.Add(bound);
            loops.AddRange(_udp!.Serve(udp, () => BindShared(bound), _stop.Token));
            loops.Add(() => new TcpAcceptor(tcp, _handler, _metrics, _outstanding, _time).RunAsync(_stop.Token));
        }
        catch (SocketException e) when (address.AddressFamily == AddressFamily.InterNetworkV6 && e.SocketErrorCode is SocketError.AddressNotAvailable or SocketError.AddressFamilyNotSupported)
        {
            DnsLog.NoAddress(_log, address, e.Message);
        }
        catch (SocketException e)
        {
            throw new FatalException("dns", $"cannot listen on {address}: {e.Message}", Fix(address, e.SocketErrorCode), e);
        }
    }

    /// <summary>The same port on UDP and TCP. Where any will do (port 0), one that is free on both.</summary>
    private (Socket Udp, Socket Tcp) BindBoth(IPEndPoint address)
    {
        const int Tries = 16;
        for (int tries = 1; ; tries++)
        {
            Socket udp = Take("dns-udp", address, () => Bind(address, SocketType.Dgram, ProtocolType.Udp));
            try { return (udp, Take("dns-tcp", address, () => Bind((IPEndPoint)udp.LocalEndPoint!, SocketType.Stream, ProtocolType.Tcp))); }
            catch (SocketException) when (address.Port == 0 && tries < Tries) { udp.Dispose(); }
        }
    }

    /// <summary>One more UDP socket on an address that is ours and shared.</summary>
    private Socket BindShared(IPEndPoint bound) => Take($"dns-udp-{++_shared}", bound, () => BindBeside(bound));

    private Socket Take(string use, IPEndPoint address, Func<Socket> open)
    {
        Socket socket = Sockets.Take(ListeningSockets.Named(use, address), open);
        _sockets.Add(socket);
        return socket;
    }

    private static Socket BindBeside(IPEndPoint bound)
    {
        var socket = new Socket(bound.AddressFamily, SocketType.Dgram, ProtocolType.Udp) { ReceiveBufferSize = BurstBytes };
        DatagramSocket.ShareAddress(socket);
        return BindTo(socket, bound);
    }

    private static Socket Bind(IPEndPoint address, SocketType type, ProtocolType protocol)
    {
        var socket = new Socket(address.AddressFamily, type, protocol);
        if (type == SocketType.Dgram) { socket.ReceiveBufferSize = BurstBytes; }
        // a restart must not wait for connections of the last run to time out
        if (type == SocketType.Stream) { socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true); }
        return BindTo(socket, address);
    }

    private static Socket BindTo(Socket socket, IPEndPoint address)
    {
        try
        {
            socket.Bind(address);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static string Fix(IPEndPoint address, SocketError error) => error switch
    {
        SocketError.AddressAlreadyInUse => $"Find who holds it with 'ss -lunp sport = :{address.Port}' and 'ss -ltnp sport = :{address.Port}' and stop it (an old agent?), or set DNS_PROXY_ADDR",
        SocketError.AccessDenied => "Choose a port from 1024 up in DNS_PROXY_ADDR, or give the agent CAP_NET_BIND_SERVICE",
        _ => "Set DNS_PROXY_ADDR to an address this host has",
    };

    /// <summary>A loop that faults ends the component at once; the others end with the stop that follows.</summary>
    [SuppressMessage("Design", "CA1031", Justification = "the fault is handed to Completion, whoever it is from")]
    private async Task RunAsync(Func<Task> loop)
    {
        await Task.Yield(); // a flood at start must not keep StartAsync here
        try { await loop(); }
        catch (Exception e) { _completion.TrySetException(e); }
    }

    private static string ReadEphemeral()
    {
        try { return File.ReadAllText("/proc/sys/net/ipv4/ip_local_port_range"); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return ""; }
    }
}
