using VmSidecar.Fuzz.Engine;
using VmSidecar.Grpc;
using VmSidecar.Wire.Protobuf;
using VmSidecar.Xds;

namespace VmSidecar.Fuzz.Targets;

/// <summary>xDS as the relay looks at it. The first byte of an input chooses the kind of message.</summary>
internal static class XdsTargets
{
    private static readonly byte[][] s_words = FuzzTargets.Words(
        XdsTypeUrl.Cluster, XdsTypeUrl.Listener, XdsTypeUrl.Routes, "type.googleapis.com/", "istio.alpn", "istio_authn", "istio.metadata_exchange",
        "envoy.transport_sockets.raw_buffer", "envoy.retry_host_predicates.previous_hosts",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication");

    public static IEnumerable<FuzzTarget> All { get; } =
    [
        new("xds-envelope", Envelope, () => [[0, .. Request()], [1, .. Response("v1", 2, Any("x"))], [2, .. Request()], [3, .. Response("", 2, Resource("x"))]], s_words),
        new("xds-mender", Mender, () => [[1, .. Listener()], [3, .. Listener(delta: true)]], s_words),
        new("xds-kept", Kept, () => [Response("", 2, Resource("x")), Record(Response("", 2, Resource("x")))], s_words),
        new("xds-node", Node, () => [new ProtoWriter().Message(9, new ProtoWriter().String(1, "envoy.filters.http.router").String(6, "envoy.extensions.filters.http.router.v3.Router")).ToArray()], FuzzTargets.Words("istio.stats", "io.istio.x")),
    ];

    private static void Envelope(byte[] input)
    {
        if (input.Length == 0) { return; }
        ReadOnlySpan<byte> message = input.AsSpan(1);
        if (!XdsEnvelope.TryRead((XdsMessageKind)(input[0] & 3), message, out XdsEnvelope? envelope)) { return; }
        _ = message[envelope.Node];
        _ = message[envelope.FirstResource];
        FuzzTarget.Require(envelope.Resources <= message.Length && envelope.Names <= message.Length && envelope.Removed <= message.Length, "counts do not exceed the bytes");
    }

    private static void Mender(byte[] input)
    {
        if (input.Length == 0) { return; }
        var kind = (XdsMessageKind)((input[0] & 2) | 1);
        byte[] message = input[1..];
        if (!XdsEnvelope.TryRead(kind, message, out XdsEnvelope? envelope)) { return; }
        var mender = new ResourceMender(EnvoyExtensions.Read(new ProtoWriter().Message(9, new ProtoWriter().String(1, "envoy.filters.http.router")).ToArray())!);
        byte[]? mended = mender.Mend(envelope, message, out _);
        InPieces(envelope, message, mender.Begin(kind, envelope.TypeUrl, out _), mended);
        if (mended is null) { return; }
        FuzzTarget.Require(XdsEnvelope.TryRead(kind, mended, out XdsEnvelope? again) && again.Resources == envelope.Resources && again.TypeUrl == envelope.TypeUrl, "a mended response is still that response");
        FuzzTarget.Require(mender.Mend(again!, mended, out _) is null, "what is mended needs no mending");
    }

    /// <summary>A response that is looked at while it arrives is the same envelope, and is mended into the same bytes.</summary>
    private static void InPieces(XdsEnvelope envelope, byte[] message, FieldRewriter.Visit? mend, byte[]? mended)
    {
        using var watch = new ResponseWatch(envelope.Kind, message.Length, null, mend, mend is null ? null : new SpilledPieces(Path.GetTempPath(), new PieceList()));
        for (int at = 0; at < message.Length; at += 7)
        {
            FuzzTarget.Require(watch.Feed(message.AsSpan(at, Math.Min(7, message.Length - at))), "what is an envelope as a whole is one in pieces");
        }
        FuzzTarget.Require(
            watch.IsComplete && (watch.Envelope.TypeUrl, watch.Envelope.Nonce, watch.Envelope.Version, watch.Envelope.Resources) == (envelope.TypeUrl, envelope.Nonce, envelope.Version, envelope.Resources),
            "the envelope in pieces is that of the whole");
        if (mend is null) { return; }
        using SpilledPieces piecewise = watch.TakeMended();
        FuzzTarget.Require(piecewise.Pieces.SelectMany(p => p.ToArray()).SequenceEqual(mended ?? message), "mending in pieces and as a whole give the same bytes");
    }

    private static void Kept(byte[] input)
    {
        Journal(input);
        if (XdsEnvelope.TryRead(XdsMessageKind.DeltaResponse, input, out _)) { Journal([.. Record(Response("", 2, Resource("x"))), .. Record(input)]); } // only what was relayed is recorded
    }

    private static void Journal(byte[] journal)
    {
        foreach (string type in (ReadOnlySpan<string>)[XdsTypeUrl.Cluster, XdsTypeUrl.Routes])
        {
            JournalEnd end = KeptResources.Read(type, journal, out KeptResources kept);
            string file = Path.Combine(Path.GetTempPath(), $"vsc-fuzz-{Environment.ProcessId}.journal");
            File.WriteAllBytes(file, journal);
            bool done = JournalCompaction.TryRunAsync(file, type, UnixFileMode.UserRead | UnixFileMode.UserWrite, CancellationToken.None).GetAwaiter().GetResult();
            byte[] compacted = File.ReadAllBytes(file);
            File.Delete(file);
            FuzzTarget.Require(end == JournalEnd.Whole == done, "a journal that can be read to its end can be compacted, and no other");
            if (!done) { continue; }
            FuzzTarget.Require(KeptResources.Read(type, compacted, out KeptResources again) == JournalEnd.Whole, "a compacted journal can be read");
            FuzzTarget.Require(again.ByName.Count == kept.ByName.Count && again.ByName.All(r => kept.ByName[r.Key].AsSpan().SequenceEqual(r.Value)), "compacting keeps every resource");
        }
    }

    private static byte[] Record(byte[] message) => [.. JournalRecord.Of(XdsMessageKind.DeltaResponse, message.Length, [message]).SelectMany(p => p.ToArray())];

    private static void Node(byte[] input)
    {
        EnvoyExtensions? extensions = EnvoyExtensions.Read(input);
        extensions?.Has("istio.stats", "x");
        ResourceMender.For(input);
    }

    private static byte[] Request() => new ProtoWriter().String(1, "1").Message(2, new ProtoWriter().String(1, "sidecar~10.0.0.1~vm.ns~ns.svc.cluster.local")).String(3, "a").String(4, XdsTypeUrl.Cluster).String(5, "n").Message(6, new ProtoWriter().Varint(1, 13).String(2, "no")).ToArray();

    private static byte[] Response(string version, int field, byte[] resource) => new ProtoWriter().String(1, version).Bytes(field, resource).String(4, XdsTypeUrl.Cluster).String(5, "n").String(6, "gone").ToArray();

    private static byte[] Any(string name) => new ProtoWriter().String(1, XdsTypeUrl.Cluster).Message(2, new ProtoWriter().String(1, name)).ToArray();

    private static byte[] Resource(string name) => new ProtoWriter().String(3, name).String(1, "1").Bytes(2, Any(name)).ToArray();

    private static byte[] Listener(bool delta = false)
    {
        ProtoWriter authn = new ProtoWriter().String(1, "istio_authn").Message(4, new ProtoWriter().String(1, "type.googleapis.com/istio.envoy.config.filter.http.authn.v2alpha1.FilterConfig"));
        ProtoWriter manager = new ProtoWriter().Message(5, authn).Message(5, new ProtoWriter().String(1, "envoy.filters.http.router"));
        ProtoWriter network = new ProtoWriter().String(1, "hcm").Message(4, new ProtoWriter().String(1, "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager").Message(2, manager));
        ProtoWriter exchange = new ProtoWriter().String(1, "istio.metadata_exchange").Message(4, new ProtoWriter().String(1, "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange"));
        ProtoWriter chain = new ProtoWriter().Message(3, exchange).Message(3, network).Message(6, new ProtoWriter().String(1, "envoy.transport_sockets.raw_buffer"));
        ProtoWriter any = new ProtoWriter().String(1, XdsTypeUrl.Listener).Message(2, new ProtoWriter().String(1, "l").Message(3, chain));
        return new ProtoWriter().String(4, XdsTypeUrl.Listener).Message(2, delta ? new ProtoWriter().String(3, "l").Message(2, any) : any).ToArray();
    }
}
