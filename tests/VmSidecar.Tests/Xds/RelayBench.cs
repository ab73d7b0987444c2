using System.Text.Json.Nodes;

using VmSidecar.Configuration;
using VmSidecar.Dns;
using VmSidecar.Grpc;
using VmSidecar.Health;
using VmSidecar.Identity;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Processes;
using VmSidecar.Metrics;
using VmSidecar.TestKit;
using VmSidecar.TestKit.Grpc;
using VmSidecar.Wasm;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

using Xunit;

namespace VmSidecar.Tests.Xds;

/// <summary>A relay between in-memory streams: the test is Envoy on one side and istiod on the other.</summary>
internal sealed class RelayBench : IAsyncDisposable
{
    private readonly List<Task> _served = [];
    private int _wrongProtocol;
    private readonly string _folder;

    public RelayBench(bool? delta = null, bool names = true, bool trust = false, string? folder = null, int maxMessage = 200 * 1024 * 1024, IWasmModules? modules = null, int largeMessage = 256 * 1024, Func<IReadOnlyList<VmSidecar.Dns.VipService>>? vips = null, SpillDisk? disk = null)
    {
        _folder = folder ?? Directory.CreateTempSubdirectory("vsc-xds-").FullName;
        var node = new NodeOptions("sidecar~10.99.0.2~vm1.vm-ns~vm-ns.svc.cluster.local", "vm-app.vm-ns", "eu", "eu-1", "", Metadata, ["10.99.0.2"]);
        Options = new XdsOptions
        {
            Socket = Path.Combine(_folder, "XDS"), DiscoveryAddress = Istiod.Address, StateDirectory = _folder, Node = node,
            SubscribeNames = names, SubscribeTrust = trust, Delta = delta, MaxMessage = maxMessage, LargeMessage = largeMessage,
        };
        var links = new XdsLinks(Access, Health, names ? Names : null, trust ? Trust : null) { Dialer = Istiod, Secrets = Secrets, VipServices = vips, Disk = disk, Modules = modules, WrongProtocol = () => Interlocked.Increment(ref _wrongProtocol) };
        Proxy = new XdsProxy(Options, links, Metrics, Time, Log);
    }

    public static JsonObject Metadata => (JsonObject)JsonNode.Parse(
        """{"CLUSTER_ID":"Kubernetes","AUTO_REGISTER_GROUP":"vm-app","NAMESPACE":"vm-ns","LABELS":{"class":"vm","n":1.5},"DNS_AUTO_ALLOCATE":"true","LIST":["a",true,null]}""")!;

    public ScriptedDialer Istiod { get; } = new();

    public XdsOptions Options { get; }

    public XdsProxy Proxy { get; }

    public MetricRegistry Metrics { get; } = new();

    public ManualTimeProvider Time { get; } = new();

    public ListLog Log { get; } = new();

    public Published<HealthState> Health { get; } = new();

    public Published<WorkloadSecrets> Secrets { get; } = new();

    public TableSink Names { get; } = new();

    public PemSink Trust { get; } = new();

    public RefusingAccess Access { get; } = new();

    public string Folder => _folder;

    /// <summary>How often Envoy was to be started with another bootstrap.</summary>
    public int WrongProtocol => Volatile.Read(ref _wrongProtocol);

    /// <summary>The state folder outlives the bench: another one starts on it.</summary>
    public bool KeepFolder { get; init; }

    /// <summary>Starts the relay's own loop and its socket.</summary>
    public async Task<RelayBench> StartAsync()
    {
        await Proxy.StartAsync(CancellationToken.None);
        return this;
    }

    /// <summary>An Envoy opens a stream.</summary>
    public PairedCall Envoy(bool delta, int window = 4, PeerProcess process = default)
    {
        var call = new PairedCall(delta ? XdsMessages.DeltaMethod : XdsMessages.SotwMethod, window) { Process = process };
        _served.Add(ServeAsync(call, delta));
        return call;
    }

    /// <summary>The next short delay the relay arms; its clocks of several minutes are not meant.</summary>
    public async Task<TimeSpan> DelayAsync()
    {
        while (true)
        {
            TimeSpan due = await Time.NextTimerAsync(Test.Deadline);
            if (due != Timeout.InfiniteTimeSpan && due < TimeSpan.FromMinutes(1)) { return due; }
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Proxy.StopAsync(CancellationToken.None).WaitAsync(Test.Deadline);
        await Task.WhenAll(_served).WaitAsync(Test.Deadline);
        if (!KeepFolder) { Directory.Delete(_folder, recursive: true); }
        if (Proxy.Completion.IsFaulted) { await Proxy.Completion; }
    }

    private async Task ServeAsync(PairedCall call, bool delta) => call.End(await Proxy.ServeAsync(call.Server, delta, call.ClientGone));

    /// <summary>Keeps tables; refuses those that begin with 0xFF, and longer ones that are no message.</summary>
    internal sealed class TableSink : INameTableSink
    {
        public List<byte[]> Tables { get; } = [];

        public string? Accept(ReadOnlySpan<byte> nameTable)
        {
            var reader = new ProtoReader(nameTable);
            while (reader.Next()) { }
            if (nameTable.Length > 0 && (nameTable[0] == 0xFF || (nameTable.Length > 1 && reader.IsMalformed))) { return "not a name table"; }
            Tables.Add(nameTable.ToArray());
            return null;
        }
    }

    /// <summary>Keeps anchors.</summary>
    internal sealed class PemSink : ITrustSink
    {
        public List<string> Pems { get; } = [];

        public string? Accept(IReadOnlyList<string> pems)
        {
            Pems.AddRange(pems);
            return null;
        }
    }

    /// <summary>Counts explanations; must not be asked for a channel when streams are scripted.</summary>
    internal sealed class RefusingAccess : IIstiodAccess
    {
        public List<GrpcStatus> Explained { get; } = [];

        public GrpcChannelOptions XdsChannel() => throw new InvalidOperationException("streams are scripted");

        public IReadOnlyList<KeyValuePair<string, string>> XdsMetadata() => throw new InvalidOperationException("streams are scripted");

        public void NoteAnswered() { }

        public void NoteLostConnection() { }

        public string ExplainRefusal(GrpcStatus status)
        {
            Explained.Add(status);
            return "the token has expired";
        }

        public bool Tell(string explanation)
        {
            Told.Add(explanation);
            return true;
        }

        public List<string> Told { get; } = [];
    }
}

/// <summary>What tests say on streams.</summary>
internal static class Talk
{
    public static readonly byte[] Node = new ProtoWriter().String(1, "sidecar~10.99.0.2~vm1.vm-ns~vm-ns.svc.cluster.local").ToArray();

    public static async Task<XdsEnvelope> ReadAsync(this IGrpcStream stream, XdsMessageKind kind)
    {
        using GrpcMessage? message = await stream.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline);
        Assert.NotNull(message);
        Assert.True(XdsEnvelope.TryRead(kind, message.Body.Span, out XdsEnvelope? envelope));
        return envelope;
    }

    public static async Task<byte[]> ReadBytesAsync(this IGrpcStream stream)
    {
        using GrpcMessage? message = await stream.ReadAsync(CancellationToken.None).AsTask().WaitAsync(Test.Deadline);
        Assert.NotNull(message);
        return message.Body.ToArray();
    }

    public static async Task SayAsync(this IGrpcStream stream, byte[] message) => await stream.SendAsync(message, CancellationToken.None).AsTask().WaitAsync(Test.Deadline);

    public static byte[] Response(bool delta, string typeUrl, string nonce, params byte[][] resources)
    {
        ProtoWriter message = new ProtoWriter().String(1, "v7");
        foreach (byte[] resource in resources)
        {
            ProtoWriter any = new ProtoWriter().String(1, typeUrl).Bytes(2, resource);
            message.Message(2, delta ? new ProtoWriter().String(3, "r").Message(2, any) : any);
        }
        return message.String(4, typeUrl).String(5, nonce).ToArray();
    }

    public static XdsMessageKind Requests(bool delta) => delta ? XdsMessageKind.DeltaRequest : XdsMessageKind.Request;

    public static XdsMessageKind Responses(bool delta) => delta ? XdsMessageKind.DeltaResponse : XdsMessageKind.Response;
}
