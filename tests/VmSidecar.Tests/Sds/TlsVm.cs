using VmSidecar.Configuration;
using VmSidecar.EnvoyApi.Clusters;
using VmSidecar.EnvoyApi.Core;
using VmSidecar.EnvoyApi.Endpoints;
using VmSidecar.EnvoyApi.Tls;
using VmSidecar.Identity;
using VmSidecar.Lifecycle;
using VmSidecar.Metrics;
using VmSidecar.MiniEnvoy.Observed;
using VmSidecar.MiniEnvoy.Resources;
using VmSidecar.MiniEnvoy.Startup;
using VmSidecar.Sds;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.Tests.Identity;

namespace VmSidecar.Tests.Sds;

/// <summary>
/// One VM's identity from end to end: rotator, SDS socket, and the test data plane's own secret store and TLS policy behind it, so that every
/// handshake uses the secrets SDS has brought by then. Several may share one istiod; each has a clock of its own.
/// </summary>
internal sealed class TlsVm : IAsyncDisposable
{
    private readonly Folder _folder = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly SdsServer _sds;
    private readonly SecretStore _store;
    private readonly CertificateRotator _rotator;
    private volatile TaskCompletionSource _arrived = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private TlsVm(FakeIstiod istiod, DateTimeOffset now, string account)
    {
        Time = new ManualTimeProvider(now);
        IdentityOptions options = Some.Options(_folder, istiod.Target) with { ServiceAccount = account };
        File.WriteAllText(_folder.At("root-cert.pem"), istiod.RootsPem);
        File.WriteAllText(options.TokenFile!, istiod.Tokens.Make(Some.Namespace, account));
        var use = new Instruments(Time, Log, new MetricRegistry());
        _rotator = new CertificateRotator(options, new IstiodAccess(options, Some.Xds(istiod.Target), Time, Log), Secrets, Trust, use);
        _sds = new SdsServer(new SdsOptions([_folder.At("uds", "socket")], null, new HostPaths(_folder.Path)), Secrets, _rotator.Status, use);
        _store = new SecretStore(BootstrapTo(_folder.At("uds", "socket")), new EnvoyLog(TextWriter.Null, "warning", null), _stop.Token) { Changed = Arrived };
    }

    public ListLog Log { get; } = new();

    public ManualTimeProvider Time { get; }

    public Published<WorkloadSecrets> Secrets { get; } = new();

    public TrustBundle Trust { get; } = new();

    /// <summary>Mutual TLS by the secrets of the moment.</summary>
    public TlsPolicy Tls { get; private set; } = null!;

    /// <summary>Serial of the leaf the data plane presents now; empty before the first.</summary>
    public string Presented => _store.Leaves.FirstOrDefault()?.SerialNumber ?? "";

    /// <summary>How many roots the data plane judges peers by now.</summary>
    public int Roots => _store.Roots.Count();

    /// <summary>Started, with its first secrets in the data plane.</summary>
    public static async Task<TlsVm> StartAsync(FakeIstiod istiod, DateTimeOffset now, string account)
    {
        var vm = new TlsVm(istiod, now, account);
        await vm._rotator.StartAsync(CancellationToken.None);
        await vm._sds.StartAsync(CancellationToken.None);
        vm.Tls = new TlsPolicy(Context(), vm._store) { RequireClient = true };
        await vm.UntilAsync(v => v.Tls.IsReady && v.Presented == v.Secrets.Current?.Serial && v.Roots > 0);
        return vm;
    }

    /// <summary>Waits until what SDS has brought to the data plane is as said.</summary>
    public async Task UntilAsync(Func<TlsVm, bool> wanted)
    {
        using var limit = new CancellationTokenSource(Test.Deadline);
        while (true)
        {
            Task arrived = _arrived.Task;
            if (wanted(this)) { return; }
            try { await arrived.WaitAsync(limit.Token); }
            catch (OperationCanceledException) { throw new TimeoutException($"presents {Presented}, {Roots} roots\n{string.Join('\n', Log.Lines)}"); }
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _store.DisposeAsync();
        using var hard = new CancellationTokenSource(TimeSpan.FromSeconds(5));
        await _sds.StopAsync(hard.Token);
        await _rotator.StopAsync(hard.Token);
        _rotator.Dispose();
        _stop.Dispose();
        _folder.Dispose();
    }

    private void Arrived() => Interlocked.Exchange(ref _arrived, new(TaskCreationOptions.RunContinuationsAsynchronously)).TrySetResult();

    private static CommonTlsContext Context() => new()
    {
        TlsCertificateSdsSecretConfigs = { Sds("default") },
        CombinedValidationContext = new() { DefaultValidationContext = new(), ValidationContextSdsSecretConfig = Sds("ROOTCA") },
    };

    private static SdsSecretConfig Sds(string name) => new()
    {
        Name = name,
        SdsConfig = new ConfigSource { ApiConfigSource = new ApiConfigSource { GrpcServices = { new GrpcService { EnvoyGrpc = new() { ClusterName = "sds-grpc" } } } } },
    };

    private static Bootstrap BootstrapTo(string socket)
    {
        var endpoint = new LbEndpoint { Endpoint = new Endpoint { Address = new Address { Pipe = new Pipe { Path = socket } } } };
        var cluster = new Cluster
        {
            Name = "sds-grpc", ConnectTimeout = Google.Protobuf.WellKnownTypes.Duration.FromTimeSpan(Test.Deadline),
            LoadAssignment = new ClusterLoadAssignment { Endpoints = { new LocalityLbEndpoints { LbEndpoints = { endpoint } } } },
        };
        return new Bootstrap(new Node { Id = "sidecar~10.99.0.2~vm1.vm-ns~vm-ns.svc.cluster.local" }, null, false, null, [cluster], [], [], null);
    }
}
