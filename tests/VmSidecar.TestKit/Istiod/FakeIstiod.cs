using System.Collections.Immutable;
using System.Globalization;
using System.Net;

using VmSidecar.Grpc;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Authentication;
using VmSidecar.TestKit.Istiod.Faults;
using VmSidecar.TestKit.Istiod.Mesh;
using VmSidecar.TestKit.Istiod.Registration;
using VmSidecar.TestKit.Pki;

namespace VmSidecar.TestKit.Istiod;

/// <summary>
/// istiod as an agent sees it, at least as strict: CA and ADS on one TLS port, registration, name tables, scripted faults.
/// Never says more than the real one over the wire; tests look inside (Streams, Registry, Ca, Violations). One per test; dispose it.
/// </summary>
internal sealed class FakeIstiod : IAsyncDisposable
{
    private readonly AdsContext _ads;
    private readonly StateSignal _changed = new();
    private GrpcServer? _server;

    public FakeIstiod(IstiodOptions? options = null, FakeCa? ca = null, TokenMaker? tokens = null)
    {
        Options = options ?? new();
        bool old = Options.Version == IstiodVersion.V1_10;
        CertificateAuthority = ca ?? new FakeCa(Options.Time, new FakeCaOptions
        {
            TrustDomain = Options.TrustDomain, Intermediates = Options.Intermediates, JoinIntermediates = old,
            BackDate = TimeSpan.FromSeconds(old ? 1 : 120),
        });
        Tokens = tokens ?? new TokenMaker(Options.Time);
        Authenticator = new Authenticator(Tokens, Options);
        Tls = new ServerTls(CertificateAuthority, Options);
        Ca = new CertificateService(Authenticator, CertificateAuthority, Options, _changed);
        Registry = new WorkloadRegistry(Options, OnRegistration);
        Front = new FrontDoor(Options.Listen, Options.Time);
        MeshSource = new MeshSource(Options, Registry, () => CertificateAuthority.RootsPem);
        _ads = new AdsContext(Options, Authenticator, Registry, new PushVersion(Options), _changed) { Source = MeshSource, Cut = Cut };
        Ads = new AdsService(_ads);
    }

    public IstiodOptions Options { get; }
    public FakeCa CertificateAuthority { get; }
    public TokenMaker Tokens { get; }
    public Authenticator Authenticator { get; }
    public ServerTls Tls { get; }

    /// <summary>The CA service: its calls and scripts.</summary>
    public CertificateService Ca { get; }

    public AdsService Ads { get; }
    public WorkloadRegistry Registry { get; }

    /// <summary>Faults below TLS.</summary>
    public FrontDoor Front { get; }

    /// <summary>Faults of ADS streams.</summary>
    public AdsFaults Faults => _ads.Faults;

    /// <summary>What the mesh is made of; the source of answers until <see cref="Source"/> is replaced.</summary>
    public MeshSource MeshSource { get; }

    public MeshModel Mesh { get => MeshSource.Model; set => MeshSource.Model = value; }

    /// <summary>Where answers come from. Replace, then <see cref="Push"/>.</summary>
    public IResourceSource Source { get => _ads.Source; set => _ads.Source = value; }

    public bool IsReady { get => _ads.IsReady; set => _ads.IsReady = value; }

    /// <summary>The address peers connect to.</summary>
    public IPEndPoint Address => Front.Address;

    /// <summary><see cref="Address"/> as <c>host:port</c>.</summary>
    public string Target => Address.ToString();

    public ImmutableArray<XdsStreamView> Streams => Ads.Streams;

    /// <summary>What peers did that would confuse or crash the real one. Tests assert that it is empty.</summary>
    public ImmutableArray<string> Violations => [.. _ads.Violations];

    public string RootsPem => CertificateAuthority.RootsPem;

    /// <summary>A started double.</summary>
    public static async Task<FakeIstiod> StartedAsync(IstiodOptions? options = null)
    {
        var istiod = new FakeIstiod(options);
        await istiod.StartAsync();
        return istiod;
    }

    /// <summary>Starts, also again after a stop, on the same address.</summary>
    public async Task StartAsync()
    {
        Ads.MarksDisconnects = true;
        var options = new GrpcServerOptions("istiod", null, new IPEndPoint(IPAddress.Loopback, 0), Options.Plaintext ? null : Tls.ForConnection, Options.MaxReceive) { Date = () => Options.SendsDate ? Options.Time.GetUtcNow() : null };
        var methods = new Dictionary<string, GrpcHandler> { [AdsService.Sotw] = Ads.SotwAsync, [AdsService.Delta] = Ads.DeltaAsync };
        if (!Options.Plaintext) { methods[CertificateService.Method] = Ca.HandleAsync; }
        _server = new GrpcServer(options, methods, Options.Log);
        await _server.StartAsync(CancellationToken.None);
        Front.Listen(_server.Bound!);
    }

    /// <summary>An orderly shutdown: no new connections, GOAWAY, streams end UNAVAILABLE, entries are marked disconnected. Connections are closed, not reset: what was said arrives.</summary>
    public async Task StopAsync()
    {
        Front.Refuse();
        Ads.Goodbye();
        Ads.End(new GrpcStatus(GrpcStatusCode.Unavailable, "server is shutting down"));
        await StopServerAsync();
    }

    /// <summary>A crash: every connection is reset at once and nothing is written down.</summary>
    public async Task KillAsync()
    {
        Ads.MarksDisconnects = false;
        Front.Refuse();
        Front.ResetAll();
        await StopServerAsync();
        Front.ResetAll(); // those that were being made
    }

    /// <summary>Maximum connection age is reached: GOAWAY, then by the double's clock the grace of ten seconds, then the connections close.</summary>
    public async Task AgeOutAsync()
    {
        Ads.Goodbye();
        await Task.Delay(TimeSpan.FromSeconds(10), Options.Time);
        Ads.End(new GrpcStatus(GrpcStatusCode.Unavailable, "closing transport due to: connection error: max connection age"));
    }

    /// <summary>Pushes short or long type names to every stream; none: everything.</summary>
    public void Push(params string[] types) => Ads.Push(types.Length == 0 ? null : [.. types.Select(XdsTypes.Long)]);

    /// <summary>Waits for a state of the double.</summary>
    public Task UntilAsync(Func<FakeIstiod, bool> condition, string what) => _changed.UntilAsync(() => condition(this), what, Test.Deadline);

    public async ValueTask DisposeAsync()
    {
        await KillAsync();
        await Front.DisposeAsync();
        Registry.Dispose();
        Tokens.Dispose();
    }

    private async Task StopServerAsync()
    {
        if (Interlocked.Exchange(ref _server, null) is not { } server) { return; }
        using var hard = new CancellationTokenSource(TimeSpan.FromSeconds(5));
        await server.StopAsync(hard.Token);
    }

    private void OnRegistration()
    {
        if (Options.PushOnChange) { Push(XdsTypes.Endpoint); }
        _changed.Raise();
    }

    private void Cut(string peer, int bytes) =>
        Front.Cut(int.Parse(peer.AsSpan(peer.LastIndexOf(':') + 1), CultureInfo.InvariantCulture), bytes);
}
