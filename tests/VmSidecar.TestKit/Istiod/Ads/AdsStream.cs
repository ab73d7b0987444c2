using System.Collections.Immutable;

using Google.Protobuf;

using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.Grpc;
using VmSidecar.TestKit.Istiod.Authentication;
using VmSidecar.TestKit.Istiod.Faults;

namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>
/// One ADS stream: 1. ready and authenticated; 2. the first request with its node; 3. identity against node; 4. registration;
/// 5. requests and pushes, one at a time, requests first. One loop owns all state; pushes only leave a note. Owned by AdsService.
/// </summary>
internal sealed class AdsStream(AdsContext context, IGrpcServerCall call, bool delta, string id)
{
    private const int LongestHistory = 10_000; // requests kept for a test to look at

    private readonly TaskCompletionSource<GrpcStatus> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<XdsSeen> _requests = [];
    private readonly PushNote _pushes = new();
    private StreamWatches? _watches;
    private AdsWriter? _writer;
    private Caller? _identity;

    public string Id => id;

    public ProxyNode? Node { get; private set; }

    /// <summary>Serves the stream to its end.</summary>
    public async Task<GrpcStatus> RunAsync(CancellationToken aborted)
    {
        if (context.Faults.TakeOpen() is { } fault && await MeetAsync(fault, aborted) is { } faulted) { return faulted; }
        if (!context.IsReady) { return new(delta ? GrpcStatusCode.Unknown : GrpcStatusCode.Unavailable, "server is not ready to serve discovery information"); }
        _identity = context.Options.Plaintext ? null : context.Authenticator.Authenticate(call); // 1.
        if (_identity is null && !context.Options.Plaintext) { return new(GrpcStatusCode.Unauthenticated, "authentication failure"); }
        (XdsAsk? first, GrpcStatus refused) = await FirstAsync(aborted); // 2.
        if (first is null) { return refused; }
        Node = ProxyNode.Read(first.Node!, out string unreadable);
        if (Node is null) { return new(Old ? GrpcStatusCode.Unknown : GrpcStatusCode.InvalidArgument, unreadable); }
        if (Unauthorized(Node) is { } unauthorized) { return new(GrpcStatusCode.PermissionDenied, unauthorized); } // 3.
        if (context.Registry.Connect(id, Node, _identity) is { } unregistered) { return unregistered; } // 4.
        _watches = new StreamWatches(v => Violation(v));
        _writer = new AdsWriter(context, call, Node, _watches, delta);
        context.Changed.Raise();
        return await ServeAsync(first, aborted); // 5.
    }

    /// <summary>Ends the stream from outside.</summary>
    public void End(GrpcStatus status) => _ended.TrySetResult(status);

    /// <summary>GOAWAY on the stream's connection; the stream itself goes on.</summary>
    public void Goodbye() => call.Goodbye();

    /// <summary>Leaves a note that these types (null: all) are to be pushed; notes merge until the loop takes them.</summary>
    public void Push(IReadOnlyCollection<string>? types) => _pushes.Add(types);

    /// <summary>Null until the first request was accepted.</summary>
    public XdsStreamView? View()
    {
        if (_watches is not { } watches || Node is null) { return null; }
        lock (_requests) { return new XdsStreamView(id, Node, _identity, delta, call.Peer, [.. watches.Views], [.. _requests]); }
    }

    private bool Old => context.Options.Version == IstiodVersion.V1_10;

    private async Task<GrpcStatus> ServeAsync(XdsAsk first, CancellationToken aborted)
    {
        _pushes.Take(); // what was noted before the first answer is in it
        if (await AnswerAsync(first, aborted) is { } ended) { return ended; }
        Task<XdsAsk?> read = ReadAsync(aborted);
        while (true)
        {
            Task pushed = _pushes.Waiting;
            await Task.WhenAny(read, pushed, _ended.Task);
            if (_ended.Task.IsCompleted) { return await _ended.Task; }
            if (read.IsCompleted)
            {
                if (await read is not { } ask) { return GrpcStatus.Ok; } // half-closed by the client
                if (await AnswerAsync(ask, aborted) is { } end) { return end; }
                read = ReadAsync(aborted);
                continue;
            }
            if (await PushAsync(_pushes.Take(), aborted) is { } cut) { return cut; }
        }
    }

    /// <summary>The first request decides who this is. 1.31 skips health that comes too early; 1.10 ends the stream.</summary>
    private async Task<(XdsAsk? First, GrpcStatus Refused)> FirstAsync(CancellationToken aborted)
    {
        while (true)
        {
            Task<XdsAsk?> read = ReadAsync(aborted);
            await Task.WhenAny(read, _ended.Task);
            if (_ended.Task.IsCompleted) { return (null, await _ended.Task); }
            XdsAsk? ask = await read;
            if (ask is null) { return (null, GrpcStatus.Ok); }
            if (ask.Node is { Id.Length: > 0 }) { return (ask, default); }
            Violation($"{XdsTypes.Short(ask.Type)}: first message of a stream without a node");
            if (ask.Type == XdsTypes.Health && !Old) { continue; }
            return (null, new(GrpcStatusCode.InvalidArgument, Old ? "missing node ID" : "missing node information"));
        }
    }

    private async Task<XdsAsk?> ReadAsync(CancellationToken aborted)
    {
        using GrpcMessage? message = await call.ReadAsync(aborted);
        if (message is null) { return null; }
        XdsAsk ask;
        try
        {
            ask = delta ? XdsAsk.From(DeltaDiscoveryRequest.Parser.ParseFrom(message.Body.Span)) : XdsAsk.From(DiscoveryRequest.Parser.ParseFrom(message.Body.Span));
        }
        catch (InvalidProtocolBufferException e)
        {
            Violation("undecodable request: " + e.Message);
            throw new GrpcException(new GrpcStatus(GrpcStatusCode.Internal, "grpc: failed to unmarshal the received message: " + e.Message), e);
        }
        lock (_requests)
        {
            if (_requests.Count == LongestHistory) { _requests.RemoveAt(0); }
            _requests.Add(ask.Seen());
        }
        return ask;
    }

    /// <summary>Null: go on.</summary>
    private async Task<GrpcStatus?> AnswerAsync(XdsAsk ask, CancellationToken aborted)
    {
        try
        {
            if (ask.Type == XdsTypes.Health) // recorded, never answered
            {
                if (!context.Registry.Report(id, ask.Error is null, ask.Error ?? "")) { IstiodLog.HealthWithoutEntry(context.Options.Log, id); }
                return null;
            }
            if (_watches!.Check(ask) is { } crash) { return crash; }
            if (ask.Error is not null) { IstiodLog.Rejected(context.Options.Log, XdsTypes.Short(ask.Type), id, ask.Error); }
            XdsAnswer answer = delta ? DeltaRules.Decide(_watches, ask) : SotwRules.Decide(_watches, ask, context.Options.Version);
            if (!answer.Responds || _watches.Find(ask.Type) is not { } watch) { return null; }
            if (await SendAsync(watch, answer.Names, aborted) is { } ended) { return ended; }
            bool follows = delta && ask.Type == XdsTypes.Cluster; // an answer to a CDS request is followed by EDS
            return follows && _watches.Find(XdsTypes.Endpoint) is { } endpoints ? await SendAsync(endpoints, null, aborted) : null;
        }
        finally { context.Changed.Raise(); }
    }

    private async Task<GrpcStatus?> PushAsync(IReadOnlyCollection<string>? types, CancellationToken aborted)
    {
        foreach (XdsWatch watch in _watches!.InPushOrder.Where(w => types is null || types.Contains(w.Type)))
        {
            if (await SendAsync(watch, null, aborted) is { } ended) { return ended; }
        }
        context.Changed.Raise();
        return null;
    }

    private async Task<GrpcStatus?> SendAsync(XdsWatch watch, IReadOnlyCollection<string>? names, CancellationToken aborted)
    {
        AdsFault? fault = context.Faults.TakeAnswer(XdsTypes.Short(watch.Type));
        if (fault is not null && await MeetAsync(fault, aborted) is { } ended) { return ended; }
        if (fault is AdsFault.Drop or AdsFault.Garbage) { return null; }
        await _writer!.SendAsync(watch, names, garbage: fault is AdsFault.GarbageResource, aborted);
        return null;
    }

    /// <summary>Plays the part of a fault that comes before the answer. Null: go on to the answer.</summary>
    private async Task<GrpcStatus?> MeetAsync(AdsFault fault, CancellationToken aborted)
    {
        switch (fault)
        {
            case AdsFault.End end: return new GrpcStatus(end.Code, end.Message);
            case AdsFault.Slow slow: await Task.Delay(slow.By, context.Options.Time, aborted); return null;
            case AdsFault.Garbage: await call.SendAsync("\x0a\xff\xff\xff\xff\x0f no message"u8.ToArray(), aborted); return null;
            case AdsFault.HalfMessage half: context.Cut(call.Peer, half.Bytes); return null;
            case AdsFault.Reset: context.Cut(call.Peer, 0); return await _ended.Task.WaitAsync(aborted);
            case AdsFault.Hang: return await _ended.Task.WaitAsync(aborted);
            default: return null;
        }
    }

    private string? Unauthorized(ProxyNode node)
    {
        bool Matches(string spiffe)
        {
            string[] p = spiffe.Split('/'); // spiffe://TD/ns/NS/sa/SA
            return p.Length == 7 && (node.Namespace.Length == 0 || p[4] == node.Namespace) && (node.ServiceAccount.Length == 0 || p[6] == node.ServiceAccount);
        }
        return _identity is null || _identity.SpiffeIds.Any(Matches)
            ? null
            : $"authorization failed: no identities ([{string.Join(' ', _identity.SpiffeIds)}]) matched {node.Namespace}/{node.ServiceAccount}";
    }

    private void Violation(string what)
    {
        context.Violations.Enqueue($"{id}: {what}");
        IstiodLog.Violation(context.Options.Log, id, what);
    }
}
