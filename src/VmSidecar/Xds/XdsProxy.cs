using Microsoft.Extensions.Logging;

using VmSidecar.Configuration;
using VmSidecar.Grpc;
using VmSidecar.Lifecycle;
using VmSidecar.Metrics;
using VmSidecar.Proto.Discovery;
using VmSidecar.Wasm;

namespace VmSidecar.Xds;

/// <summary>
/// The ADS server Envoy talks to, and the one stream to istiod behind it: joint with Envoy while it has a stream, else the
/// agent's own. Only one Envoy stream is active; a newer one supersedes it. Owned by SidecarApp.
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "StopAsync frees it; a component has no Dispose")]
internal sealed class XdsProxy : IComponent, IReplaceable
{
    private const int MostAside = 32; // gRPC clients without a proxy, each with a stream to istiod; a client with many channels has one each

    private const int SendBuffer = 2 * 1024 * 1024; // bytes; with the kernel's 208 KiB a large push stops whenever one of the three processes waits for its turn on a busy processor

    private static readonly TimeSpan GoodbyeLimit = TimeSpan.FromSeconds(1);

    private readonly XdsContext _context;
    private readonly GrpcServer _server;
    private readonly AgentStream _own;
    private readonly Published<JointState> _joint = new(new JointState(JointPhase.None, IstiodEnded: false));
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly JointSeat _seat; // its gate guards the writes to _joint
    private Task _ownLoop = Task.CompletedTask;
    private readonly WasmModules? _modules;
    private Task _keeping = Task.CompletedTask;
    private Task _purging = Task.CompletedTask;
    private long _ids;
    private int _aside, _serving;
    private volatile string _trouble = ""; // why istiod did not take Envoy's last stream

    public XdsProxy(XdsOptions options, XdsLinks links, MetricRegistry metrics, TimeProvider time, ILoggerFactory logs)
    {
        ILogger log = logs.CreateLogger("xdsproxy");
        var own = new XdsMetrics(metrics);
        IIstiodDialer dialer = links.Dialer ?? new IstiodDialer(links.Access, options.DiscoveryAddress, options.MaxMessage);
        ResourceKeeper keeper = links.Disk is { } disk ? new(options.StateDirectory, time, log) { Disk = disk } : new(options.StateDirectory, time, log);
        if (options.Wasm is { Enabled: true } wasm) { _modules = new WasmModules(wasm, new WasmMetrics(metrics), time, logs.CreateLogger("wasm")); }
        _context = new XdsContext(options, links, dialer, time, log)
        {
            Wasm = (links.Modules ?? _modules) is { } modules ? new WasmConverter(modules, metrics, time, log) : null,
            Metrics = own,
            Tap = new XdsTap(links, own, time, logs.CreateLogger("default")),
            Keeper = keeper,
            Offline = new OfflineStart(keeper, options.OfflineMaxAge, time, log),
            Mends = new MendLog(own, log),
            Refusals = new RefusalReporter(links.Access, options.DiscoveryAddress, log),
        };
        metrics.Observe("xds_stale", "1 while Envoy is served from the disk because istiod cannot be reached", () => _context.Offline.ServingFrom is null ? 0 : 1);
        metrics.Observe("xds_stale_age_seconds", "Age of what Envoy is served from the disk; absent while istiod serves it",
            () => _context.Offline.ServingFrom is { } seen ? (time.GetUtcNow() - seen).TotalSeconds : double.NaN);
        metrics.Observe("xds_streams_served", "Streams of Envoy and of gRPC clients that are open now", () => Volatile.Read(ref _serving));
        Mode = new Published<XdsMode>(options.Delta is { } forced ? new XdsMode(forced, Settled: true) : XdsMode.Load(options.StateDirectory));
        _seat = new JointSeat(time);
        _own = new AgentStream(_context, _joint, Mode);
        var reflection = new ServerReflection(() => DiscoveryReflection.Descriptor);
        _server = new GrpcServer(
            GrpcServerOptions.OnSocket("xds", options.Socket) with { MaxReceive = options.MaxRequest ?? options.MaxMessage, MaxReceiveOf = ServerReflection.MaxReceive, SendBuffer = SendBuffer, Sockets = links.Sockets },
            new Dictionary<string, GrpcHandler>(reflection.Methods, StringComparer.Ordinal)
            {
                [XdsMessages.SotwMethod] = (call, aborted) => ServeAsync(call, delta: false, aborted),
                [XdsMessages.DeltaMethod] = (call, aborted) => ServeAsync(call, delta: true, aborted),
            },
            log);
        metrics.Observe("xds_held_request_bytes", "What clients of the xDS socket make the agent hold: requests not read to their end or not yet sent to istiod, and open calls", () => _server.Held);
    }

    public string Name => "xds";

    public Task Completion => _completion.Task;

    /// <summary>What istiod speaks, for Envoy's bootstrap: a guess from the last run until settled.</summary>
    public Published<XdsMode> Mode { get; }

    /// <summary>The mode, settled if that takes no longer than <paramref name="atMost"/>: Envoy's start must not wait for istiod.</summary>
    public async Task<XdsMode> ModeAsync(TimeSpan atMost, CancellationToken stop)
    {
        using var limit = new CancellationTokenSource(atMost, _context.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, stop);
        try
        {
            while (true)
            {
                (XdsMode? mode, Task changed) = Mode.Watch();
                if (mode!.Settled) { return mode; }
                await changed.WaitAsync(either.Token);
            }
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            return Mode.Current!;
        }
    }

    /// <summary>The relay now.</summary>
    public XdsStatus Status
    {
        get
        {
            XdsSession? active = _seat.Holder.Session;
            bool joint = active is { Phase: JointPhase.Up };
            bool own = !joint && _own.UpSince is not null;
            return new XdsStatus(
                joint ? XdsStreamOwner.Joint : own ? XdsStreamOwner.Agent : XdsStreamOwner.None,
                joint ? active!.UpSince : _own.UpSince,
                Mode.Current!,
                joint ? active!.Id : 0,
                _context.Tap.LastNames,
                joint ? "" : _trouble.Length > 0 ? _trouble : own ? "" : _own.Trouble,
                joint ? active!.Ledger.Snapshot() : _own.Ledger.Snapshot())
            {
                LeftOut = _context.Mends.LeftOut,
                KeptIn = _context.Mends.KeptIn,
                ServingFrom = _context.Offline.ServingFrom,
            };
        }
    }

    /// <summary>Subscriptions and sync state per type on the current stream, and what Envoy accepted: for the debug pages.</summary>
    public XdsDebug Debug
    {
        get
        {
            XdsSession? active = _seat.Holder.Session;
            return new XdsDebug(Status, active is { Phase: JointPhase.Up } ? active.Ledger : _own.Ledger, _context.Keeper);
        }
    }

    public async Task StartAsync(CancellationToken startup)
    {
        XdsLog.Initializing(_context.Log, _context.Istiod.Address, Cluster(_context.Options.Node));
        await GrpcBootstrap.WriteAsync(_context.Options, _context.Log, startup);
        _context.Offline.Begin();
        await _server.StartAsync(startup);
        _keeping = GuardAsync(_context.Keeper.RunAsync(_stop.Token));
        _ownLoop = GuardAsync(_own.RunAsync(_stop.Token));
        if (_modules is not null) { _purging = GuardAsync(_modules.RunAsync(_stop.Token)); }
    }

    public Task StopAsync(CancellationToken hard) => EndAsync(() => _server.StopAsync(hard), hard);

    public Task LeaveAsync(CancellationToken hard) => EndAsync(() => _server.LeaveAsync(hard), hard);

    private async Task EndAsync(Func<Task> close, CancellationToken hard)
    {
        var stopping = new GrpcStatus(GrpcStatusCode.Unavailable, "the agent is stopping");
        if (_seat.Holder.Session is { } session) { await LastWordsAsync(session, stopping, hard); }
        _seat.Holder.Session?.Supersede(stopping);
        await _stop.CancelAsync();
        await close();
        await _ownLoop;
        await _purging;
        _modules?.Dispose();
        await KeeperWaits.EndAsync(_context.Keeper, _keeping, _context.Time, _context.Log);
        _completion.TrySetResult();
        _stop.Dispose();
    }

    /// <summary>A goodbye (the workload reports itself unhealthy at a stop) is read by istiod before the stream ends; an istiod that does not take it is not waited for.</summary>
    private async Task LastWordsAsync(XdsSession session, GrpcStatus stopping, CancellationToken hard)
    {
        if (_context.Links.Health.Current is not { IsLast: true } last) { return; }
        using var limit = new CancellationTokenSource(GoodbyeLimit, _context.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, hard);
        try { await session.TakeLeaveAsync(last, stopping, either.Token); }
        catch (OperationCanceledException) when (either.IsCancellationRequested) { }
    }

    /// <summary>
    /// One client stream. Split from the server so that tests can bring their own stream. While another stream is served, the newcomer is looked
    /// at first: a gRPC client without a proxy gets a stream of its own beside Envoy's, an Envoy that a newer one replaces is parked.
    /// </summary>
    internal async Task<GrpcStatus> ServeAsync(IGrpcServerCall call, bool delta, CancellationToken aborted)
    {
        Interlocked.Increment(ref _serving);
        try { return await ServeOneAsync(call, delta, aborted); }
        finally { Interlocked.Decrement(ref _serving); }
    }

    private async Task<GrpcStatus> ServeOneAsync(IGrpcServerCall call, bool delta, CancellationToken aborted)
    {
        if (_seat.Holder.Session is null) { return await ServeJointAsync(call, delta, aborted); }
        using var client = new XdsClient(call, delta);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(aborted, _stop.Token);
        try
        {
            if (!await client.MeetAsync(either.Token)) { return GrpcStatus.Ok; }
        }
        catch (GrpcException e) { return e.Status; }
        catch (OperationCanceledException) when (either.IsCancellationRequested) { return new GrpcStatus(GrpcStatusCode.Cancelled, "context canceled"); }
        if (client.IsProxyless && _seat.Holder.Session is not null) { return await ServeAsideAsync(client, delta, either.Token); }
        if (!_seat.IsHeldByNewer(client.Process)) { return await ServeJointAsync(client, delta, aborted); }
        XdsLog.Parked(_context.Log, client.Process.Id, _seat.Holder.Process.Id);
        return await _seat.ParkAsync(client, either.Token);
    }

    private async Task<GrpcStatus> ServeJointAsync(IGrpcServerCall call, bool delta, CancellationToken aborted)
    {
        var session = new XdsSession(Interlocked.Increment(ref _ids), delta, call, _context, Moved);
        LogAccepted(session);
        var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        try
        {
            await SupersedeAsync(session, call, ended.Task);
            Task<GrpcStatus> run = session.RunAsync(aborted);
            await GuardAsync(run);
            return await run;
        }
        finally
        {
            Leave(session);
            ended.SetResult();
        }
    }

    /// <summary>A stream of its own for a gRPC client without a proxy: nothing of the agent's is added to it and nothing of it is kept.</summary>
    private async Task<GrpcStatus> ServeAsideAsync(IGrpcServerCall call, bool delta, CancellationToken aborted)
    {
        if (Interlocked.Increment(ref _aside) > MostAside)
        {
            Interlocked.Decrement(ref _aside);
            return new GrpcStatus(GrpcStatusCode.ResourceExhausted, $"{MostAside} gRPC clients have a stream already");
        }
        try
        {
            var session = new XdsSession(Interlocked.Increment(ref _ids), delta, call, _context, Moved) { IsAside = true };
            LogAccepted(session);
            Task<GrpcStatus> run = session.RunAsync(aborted);
            await GuardAsync(run);
            return await run;
        }
        finally
        {
            Interlocked.Decrement(ref _aside);
        }
    }

    private void LogAccepted(XdsSession session)
    {
        if (session.Delta) { XdsLog.AcceptedDelta(_context.Log, session.Id); } else { XdsLog.Accepted(_context.Log, session.Id); }
    }

    /// <summary>Makes the session the active one and waits until the one before it has closed its stream to istiod: there are never two.</summary>
    private async Task SupersedeAsync(XdsSession session, IGrpcServerCall call, Task ended)
    {
        (XdsSession? previous, Task previousEnded) = _seat.Take(session, call.Process, ended);
        if (previous is null) { return; }
        XdsLog.Overlapping(_context.Log);
        previous.Supersede(previous.IsProxyless ? new GrpcStatus(GrpcStatusCode.Unavailable, "Envoy takes the agent's stream; open another one") : GrpcStatus.Ok);
        await previousEnded;
    }

    private void Leave(XdsSession session)
    {
        bool held = _seat.Leave(session, () =>
        {
            _joint.Set(new JointState(JointPhase.None, session.End.Cause is SessionCause.Istiod or SessionCause.IstiodSend));
            _trouble = session.Phase == JointPhase.Up ? "" : session.Trouble;
            _context.Metrics.Connected.Value = 0;
            _context.Keeper.IsLive = false;
        });
        // Envoy was told delta and istiod does not speak it: the bootstrap must be written anew.
        if (!held || session is not { Delta: true, End.Status.Code: GrpcStatusCode.Unimplemented } || _context.Options.Delta is not null) { return; }
        Mode.Set(new XdsMode(Delta: false, Settled: true));
        _context.Links.WrongProtocol?.Invoke();
    }

    private void Moved(XdsSession session, JointPhase phase) => _seat.IfHeldBy(session, () =>
    {
        _joint.Set(new JointState(phase, IstiodEnded: false));
        if (phase == JointPhase.Asked && session.IsProxyless) { _seat.DropAge(session); }
        if (phase != JointPhase.Up) { return; }
        _trouble = "";
        _context.Metrics.Connected.Value = 1;
        _context.Keeper.IsLive = true;
    });

    /// <summary>A bug in a loop ends the process instead of one quiet stream.</summary>
    [SuppressMessage("Design", "CA1031", Justification = "not handled here: handed to Completion")]
    private async Task GuardAsync(Task loop)
    {
        try { await loop; }
        catch (Exception e) when (e is not OperationCanceledException) { _completion.TrySetException(e); }
    }

    private static string Cluster(NodeOptions node) => (string?)node.Metadata["CLUSTER_ID"] ?? "";
}
