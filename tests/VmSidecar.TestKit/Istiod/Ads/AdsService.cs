using System.Collections.Concurrent;
using System.Collections.Immutable;

using VmSidecar.Grpc;

namespace VmSidecar.TestKit.Istiod.Ads;

/// <summary>Both methods of the aggregated discovery service. Knows every open stream and how the others ended. Owned by FakeIstiod.</summary>
internal sealed class AdsService(AdsContext context)
{
    public const string Sotw = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
    public const string Delta = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

    private readonly Lock _ending = new(); // a stream leaves the list, the registry and its mark together: who waits for one sees the others
    private readonly ConcurrentDictionary<string, AdsStream> _streams = new(StringComparer.Ordinal);
    private int _counter;

    /// <summary>Streams accepted and open now.</summary>
    public ImmutableArray<XdsStreamView> Streams { get { lock (_ending) { return [.. _streams.Values.Select(s => s.View()).OfType<XdsStreamView>().OrderBy(v => v.Id, StringComparer.Ordinal)]; } } }

    /// <summary>Every stream that has ended, refused ones included.</summary>
    public ConcurrentQueue<XdsStreamEnd> Ended { get; } = new();

    /// <summary>Streams ever opened.</summary>
    public int Opened => _counter;

    /// <summary>False while istiod is being killed: it leaves no marks on entries.</summary>
    public bool MarksDisconnects { get; set; } = true;

    public Task<GrpcStatus> SotwAsync(IGrpcServerCall call, CancellationToken aborted) => RunAsync(call, delta: false, aborted);

    /// <summary>1.10 answers before it looks at anything, and keeps the connection.</summary>
    public Task<GrpcStatus> DeltaAsync(IGrpcServerCall call, CancellationToken aborted) => context.Options.Version == IstiodVersion.V1_10
        ? Task.FromResult(new GrpcStatus(GrpcStatusCode.Unimplemented, "not implemented"))
        : RunAsync(call, delta: true, aborted);

    /// <summary>Pushes types (null: all) to every stream, under a new version.</summary>
    public void Push(IReadOnlyCollection<string>? types)
    {
        context.Version.Next();
        foreach (AdsStream stream in _streams.Values) { stream.Push(types); }
    }

    /// <summary>Ends streams from istiod's side.</summary>
    public void End(GrpcStatus status, string? id = null)
    {
        foreach (AdsStream stream in _streams.Values.Where(s => id is null || s.Id == id)) { stream.End(status); }
    }

    /// <summary>Says goodbye (GOAWAY NO_ERROR) on the connections of all streams, which stay.</summary>
    public void Goodbye()
    {
        foreach (AdsStream stream in _streams.Values) { stream.Goodbye(); }
    }

    private async Task<GrpcStatus> RunAsync(IGrpcServerCall call, bool delta, CancellationToken aborted)
    {
        string id = $"stream-{Interlocked.Increment(ref _counter)}";
        var stream = new AdsStream(context, call, delta, id);
        _streams[id] = stream;
        GrpcStatus status = new(GrpcStatusCode.Cancelled, "the client has gone");
        try
        {
            status = await stream.RunAsync(aborted);
        }
        catch (GrpcException e) { status = e.Status; }
        catch (OperationCanceledException) when (aborted.IsCancellationRequested) { }
        finally
        {
            lock (_ending)
            {
                _streams.TryRemove(id, out _);
                context.Registry.Disconnect(id, MarksDisconnects);
                Ended.Enqueue(new XdsStreamEnd(id, stream.Node?.Id ?? "", status));
            }
            IstiodLog.Ended(context.Options.Log, id, stream.Node?.Name ?? "?", status.ToString());
            context.Changed.Raise();
        }
        return status;
    }
}
