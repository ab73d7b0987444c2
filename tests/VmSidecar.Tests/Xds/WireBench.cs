using System.Text.Json.Nodes;

using Google.Protobuf.WellKnownTypes;

using VmSidecar.Configuration;
using VmSidecar.EnvoyApi.Core;
using VmSidecar.Grpc;
using VmSidecar.Health;
using VmSidecar.Identity;
using VmSidecar.Lifecycle;
using VmSidecar.Metrics;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;
using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Peers;
using VmSidecar.TestKit.Istiod.Registration;
using VmSidecar.TestKit.Pki;
using VmSidecar.Xds;

namespace VmSidecar.Tests.Xds;

/// <summary>The relay with everything real around it: TLS to a FakeIstiod, token from a file, a unix socket for Envoy.</summary>
internal sealed class WireBench : IAsyncDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("vsc-xdsw-").FullName;
    private readonly List<IAsyncDisposable> _peers = [];

    private WireBench(FakeIstiod istiod, bool? delta, int largeMessage, TimeSpan leaveWithin, TimeSpan? keepAlive, string? tokenText, Issued? certificate)
    {
        Istiod = istiod;
        istiod.Registry.Add(new WorkloadGroup("vm-ns", "vm-app", "vm-sa"));
        string roots = Path.Combine(_folder, "root-cert.pem"), token = Path.Combine(_folder, "istio-token");
        File.WriteAllText(roots, istiod.RootsPem);
        if (tokenText is not null) { File.WriteAllText(token, tokenText); }
        certificate?.WriteTo(Path.Combine(_folder, "certs"));
        var metadata = (JsonObject)JsonNode.Parse(
            """{"CLUSTER_ID":"Kubernetes","AUTO_REGISTER_GROUP":"vm-app","NAMESPACE":"vm-ns","SERVICE_ACCOUNT":"vm-sa","INSTANCE_IPS":"10.99.0.2","DNS_CAPTURE":"true","DNS_AUTO_ALLOCATE":"true"}""")!;
        Options = new XdsOptions
        {
            Socket = Path.Combine(_folder, "XDS"), DiscoveryAddress = istiod.Target, ServerName = "istiod.istio-system.svc", StateDirectory = _folder,
            Node = new NodeOptions("sidecar~10.99.0.2~vm1.vm-ns~vm-ns.svc.cluster.local", "vm-app", "", "", "", metadata, ["10.99.0.2"]),
            SubscribeNames = true, Delta = delta, LargeMessage = largeMessage, LeaveWithin = leaveWithin, GrpcBootstrapFile = Path.Combine(_folder, "grpc", "bootstrap.json"),
        };
        var identity = new IdentityOptions
        {
            CaAddress = istiod.Target, TrustDomain = "cluster.local", Namespace = "vm-ns", ServiceAccount = "vm-sa", ClusterId = "Kubernetes",
            XdsRootFile = roots, TokenFile = token, ProvisionedDirectory = certificate is null ? null : Path.Combine(_folder, "certs"),
        };
        Proxy = Make(identity, keepAlive);
    }

    public FakeIstiod Istiod { get; }

    /// <summary>Writes istiod's roots of now into the file the relay trusts.</summary>
    public void WriteRoots() => File.WriteAllText(Path.Combine(_folder, "root-cert.pem"), Istiod.RootsPem);

    /// <summary>The file with the roots the relay trusts is gone.</summary>
    public void RemoveRoots() => File.Delete(Path.Combine(_folder, "root-cert.pem"));

    public XdsOptions Options { get; }

    public XdsProxy Proxy { get; }

    /// <summary>What the relay has opened to istiod.</summary>
    public WatchedDialer Dialer { get; private set; }

    public ListLog Log { get; } = new();

    public MetricRegistry Metrics { get; } = new();

    public Published<HealthState> Health { get; } = new();

    public RelayBench.TableSink Names { get; } = new();

    /// <summary>
    /// Started; with a good token and no client certificate unless these say otherwise (null from <paramref name="token"/>: there is no token). An istiod that says goodbye is not left
    /// before it ends the stream, unless <paramref name="leaveWithin"/> says so.
    /// </summary>
    public static async Task<WireBench> StartedAsync(
        IstiodOptions? istiod = null, bool? delta = null, int largeMessage = 256 * 1024, TimeSpan? leaveWithin = null, TimeSpan? keepAlive = null, Func<FakeIstiod, string?>? token = null, Func<FakeIstiod, Issued>? certificate = null)
    {
        FakeIstiod started = await FakeIstiod.StartedAsync(istiod);
        var bench = new WireBench(started, delta, largeMessage, leaveWithin ?? TimeSpan.FromHours(1), keepAlive, token is null ? started.Tokens.Make("vm-ns", "vm-sa") : token(started), certificate?.Invoke(started));
        await bench.Proxy.StartAsync(CancellationToken.None);
        return bench;
    }

    /// <summary>An Envoy opens a stream, on a connection of its own as Envoy does.</summary>
    public async Task<AdsPeer> EnvoyAsync(bool delta)
    {
        var channel = new GrpcChannel(GrpcChannelOptions.For("unix:" + Options.Socket));
        _peers.Add(channel);
        return new AdsPeer(await channel.OpenAsync(delta ? XdsMessages.DeltaMethod : XdsMessages.SotwMethod, [], CancellationToken.None), delta);
    }

    /// <summary>Closes the connections of every Envoy so far.</summary>
    public async Task CloseEnvoysAsync()
    {
        foreach (IAsyncDisposable peer in _peers) { await peer.DisposeAsync(); }
        _peers.Clear();
    }

    /// <summary>The node of that Envoy.</summary>
    public static Node Node(string group = "vm-app") => IstiodPeer.Node(group: group, more: m => m.Fields["extra"] = Value.ForString("kept"));

    /// <summary>Waits until the streams istiod sees are as said; its own list is what proxy-status shows.</summary>
    public Task StreamsAsync(Func<IReadOnlyList<XdsStreamView>, bool> condition, string what) => Istiod.UntilAsync(i => condition(i.Streams), what);

    public async ValueTask DisposeAsync()
    {
        await CloseEnvoysAsync();
        await Proxy.StopAsync(CancellationToken.None).WaitAsync(Test.Deadline);
        await Istiod.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
        if (Proxy.Completion.IsFaulted) { await Proxy.Completion; }
    }

    [System.Diagnostics.CodeAnalysis.MemberNotNull(nameof(Dialer))]
    private XdsProxy Make(IdentityOptions identity, TimeSpan? keepAlive)
    {
        IIstiodAccess access = new IstiodAccess(identity, Options, TimeProvider.System, Log);
        if (keepAlive is { } often) { access = new Watchful(access, often); }
        Dialer = new WatchedDialer(new IstiodDialer(access, Options.DiscoveryAddress, Options.MaxMessage));
        return new XdsProxy(Options, new XdsLinks(access, Health, Names, null) { Dialer = Dialer }, Metrics, TimeProvider.System, Log);
    }

    /// <summary>Asks istiod for a sign of life more often, so that a test of a dead link is short.</summary>
    private sealed class Watchful(IIstiodAccess inner, TimeSpan often) : IIstiodAccess
    {
        public GrpcChannelOptions XdsChannel() => inner.XdsChannel() with { KeepAliveInterval = often, KeepAliveTimeout = often };

        public IReadOnlyList<KeyValuePair<string, string>> XdsMetadata() => inner.XdsMetadata();

        public void NoteAnswered() => inner.NoteAnswered();

        public void NoteLostConnection() => inner.NoteLostConnection();

        public bool Tell(string explanation) => inner.Tell(explanation);

        public string ExplainRefusal(GrpcStatus status) => inner.ExplainRefusal(status);
    }
}
