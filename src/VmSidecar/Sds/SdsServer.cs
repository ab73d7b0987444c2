using System.Collections.Concurrent;

using VmSidecar.Configuration;
using VmSidecar.Grpc;
using VmSidecar.Identity;
using VmSidecar.Lifecycle;
using VmSidecar.Linux;
using VmSidecar.Linux.Sockets;
using VmSidecar.Metrics;

namespace VmSidecar.Sds;

/// <summary>Serves secrets to Envoy on unix sockets: the path of newer bootstraps and that of 1.10. Owns the sockets; each call is a <see cref="SecretSession"/>. Envoy's first question goes here.</summary>
internal sealed class SdsServer : IComponent, IReplaceable, IDisposable
{
    private const int LargestRequest = 4 * 1024 * 1024; // bytes; a node and some names
    private const string Service = "/envoy.service.secret.v3.SecretDiscoveryService/";

    private readonly SecretCatalog _catalog;
    private readonly SecretFiles _files;
    private readonly CrlWatch _crl;
    private readonly SecretLog _log;
    private readonly SecretMeters _meters;
    private readonly TimeProvider _time;
    private readonly GrpcServer[] _servers;
    private readonly SdsOptions _options;
    private readonly ConcurrentDictionary<uint, bool> _refused = new(); // told already; at most as many as the host has users
    private long _connections;

    /// <param name="options">What to serve where.</param>
    /// <param name="secrets">The workload's.</param>
    /// <param name="status">Why there is none.</param>
    /// <param name="use">Clock, logs, metrics.</param>
    /// <param name="sockets">What the agent before this one in the process has left; null: nothing.</param>
    public SdsServer(SdsOptions options, Published<WorkloadSecrets> secrets, Published<IdentityStatus> status, Instruments use, ListeningSockets? sockets = null)
    {
        _options = options;
        _log = new SecretLog(use.Logs, use.Time);
        _meters = new SecretMeters(use.Metrics);
        _files = new SecretFiles(options.Root, _log, _meters, use.Time);
        _crl = new CrlWatch(options.CrlFile, use.Time);
        _catalog = new SecretCatalog(options, secrets, status, _files, _crl);
        _time = use.Time;
        var methods = new Dictionary<string, GrpcHandler>(StringComparer.Ordinal)
        {
            [Service + "StreamSecrets"] = (call, aborted) => ServeAsync(call, context => new SotwDialect(context), aborted),
            [Service + "DeltaSecrets"] = (call, aborted) => ServeAsync(call, context => new DeltaDialect(context), aborted),
            [Service + "FetchSecrets"] = (_, _) => Task.FromResult(new GrpcStatus(GrpcStatusCode.Unimplemented, "FetchSecrets not implemented")),
        };
        _servers = [.. options.Sockets.Select(path => new GrpcServer(GrpcServerOptions.OnSocket("sds", path) with { MaxReceive = LargestRequest, AllowsUser = Allows, Sockets = sockets ?? new() }, methods, use.Logs.CreateLogger("sds")))];
    }

    public string Name => "sds";

    public Task Completion => Task.WhenAll(_servers.Select(s => s.Completion));

    public async Task StartAsync(CancellationToken startup)
    {
        _crl.Start();
        foreach (GrpcServer server in _servers) { await server.StartAsync(startup); }
        _log.Starting(_options.Sockets);
    }

    public async Task StopAsync(CancellationToken hard)
    {
        await Task.WhenAll(_servers.Select(s => s.StopAsync(hard)));
        await EndAsync();
    }

    public async Task LeaveAsync(CancellationToken hard)
    {
        await Task.WhenAll(_servers.Select(s => s.LeaveAsync(hard)));
        await EndAsync();
    }

    private async Task EndAsync()
    {
        await _crl.EndAsync();
        await _files.CloseAsync(); // after the streams, which hold leases
    }

    private bool Allows(uint user)
    {
        if (_options.Allows(user, PeerCredentials.OwnUserId)) { return true; }
        _meters.RefusedPeers.Add();
        if (_refused.TryAdd(user, true)) { _log.RefusedUser(user); }
        return false;
    }

    public void Dispose() => _crl.Dispose();

    private async Task<GrpcStatus> ServeAsync(IGrpcServerCall call, Func<SecretContext, ISecretDialect> dialect, CancellationToken aborted)
    {
        var watch = new SecretWatch(_catalog);
        var context = new SecretContext(Interlocked.Increment(ref _connections), _catalog, watch, _log, _meters, _time);
        _meters.Opened();
        try { return await new SecretSession(call, dialect(context), watch, _meters, _time).RunAsync(aborted); }
        finally { _meters.Closed(); }
    }
}
