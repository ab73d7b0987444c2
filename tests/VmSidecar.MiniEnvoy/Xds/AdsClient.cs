using System.Threading.Channels;

using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;

using VmSidecar.EnvoyApi.Discovery;
using VmSidecar.EnvoyApi.Endpoints;
using VmSidecar.EnvoyApi.Routes;
using VmSidecar.Grpc;
using VmSidecar.MiniEnvoy.Observed;
using VmSidecar.MiniEnvoy.Resources;
using VmSidecar.MiniEnvoy.Startup;

namespace VmSidecar.MiniEnvoy.Xds;

/// <summary>
/// The ADS stream in Envoy's order: CDS, then EDS for its clusters, LDS when all clusters are warm, RDS for its listeners. Again
/// after each end of the stream, with everything subscribed so far. One loop owns all resource sets. Owned by MiniEnvoyApp.
/// </summary>
internal sealed class AdsClient(Bootstrap bootstrap, ClusterSet clusters, ListenerSet listeners, StatStore stats, EnvoyLog log)
{
    private readonly List<Subscription> _subscriptions = [new(XdsType.Cluster)]; // in the order of their first request

    public async Task RunAsync(CancellationToken stop)
    {
        foreach (string set in new[] { "cluster_manager.cds", "listener_manager.lds" })
        {
            foreach (string name in new[] { "update_attempt", "update_success", "update_rejected", "update_failure" }) { stats.Declare($"{set}.{name}"); }
        }
        if (bootstrap.AdsCluster is null)
        {
            listeners.StartWorkers();
            await Task.Delay(Timeout.InfiniteTimeSpan, TimeProvider.System, stop).ContinueWith(_ => { }, TaskScheduler.Default);
            return;
        }
        int failures = 0;
        while (!stop.IsCancellationRequested)
        {
            try
            {
                bool heard = await StreamAsync(bootstrap.AdsCluster, stop);
                failures = heard ? 0 : failures + 1;
                await Task.Delay(ControlPlane.Delay(failures), TimeProvider.System, stop);
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested) { return; }
        }
    }

    /// <summary>One stream from open to end. True when at least one response came: the back-off starts anew.</summary>
    private async Task<bool> StreamAsync(string cluster, CancellationToken stop)
    {
        string method = bootstrap.IsDelta ? "DeltaAggregatedResources" : "StreamAggregatedResources";
        GrpcStatus status;
        bool heard = false;
        await using GrpcChannel channel = ControlPlane.Connect(bootstrap, cluster);
        try
        {
            stats.Add("cluster.xds-grpc.upstream_cx_total");
            await using IGrpcClientCall call = await channel.OpenAsync("/envoy.service.discovery.v3.AggregatedDiscoveryService/" + method, [], stop);
            stats.Add("cluster.xds-grpc.upstream_rq_total");
            stats.Move("cluster.xds-grpc.upstream_cx_active", 1);
            stats.Set("control_plane.connected_state", 1);
            try { (status, heard) = await ServeAsync(call, stop); }
            finally
            {
                stats.Move("cluster.xds-grpc.upstream_cx_active", -1);
                stats.Set("control_plane.connected_state", 0);
            }
        }
        catch (GrpcException e)
        {
            stats.Add("cluster.xds-grpc.upstream_cx_connect_fail");
            status = e.Status;
        }
        log.Write("warning", "config", $"{method} gRPC config stream to {cluster} closed: {(int)status.Code}, {status.Message}");
        return heard;
    }

    private async Task<(GrpcStatus Status, bool Heard)> ServeAsync(IGrpcClientCall call, CancellationToken stop)
    {
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(stop);
        // Responses and changes of secrets meet here. 16: a response is read only when the earlier ones are in use; wake-ups are merged by the loop.
        var events = Channel.CreateBounded<Update?>(16);
        var writer = new RequestWriter(call, ControlPlane.NodeOf(bootstrap), bootstrap.IsDelta);
        clusters.Woken = listeners.Woken = () => events.Writer.TryWrite(null);
        Task<GrpcStatus> reading = ReadAsync(call, events.Writer, ended.Token);
        bool heard = false;
        try
        {
            foreach (Subscription s in _subscriptions)
            {
                (s.Nonce, s.IsOpen) = ("", false);
                await writer.SubscribeAsync(s, stop);
            }
            await foreach (Update? update in events.Reader.ReadAllAsync(stop))
            {
                heard |= update is not null;
                if (update is not null) { await TakeAsync(update, writer, stop); }
                await FollowAsync(writer, stop);
            }
        }
        catch (GrpcException) { } // a request could not be sent: reading says why
        finally
        {
            await ended.CancelAsync();
        }
        return (await reading, heard);
    }

    private async Task<GrpcStatus> ReadAsync(IGrpcClientCall call, ChannelWriter<Update?> events, CancellationToken stop)
    {
        try
        {
            while (await call.ReadAsync(stop) is { } message)
            {
                using (message) { await events.WriteAsync(Decode(message.Body.Span), stop); }
            }
            return call.Status;
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { return new GrpcStatus(GrpcStatusCode.Cancelled, "stream ended by a failed send"); }
        catch (InvalidProtocolBufferException e) { return new GrpcStatus(GrpcStatusCode.Internal, e.Message); }
        finally { events.TryComplete(); }
    }

    private Update Decode(ReadOnlySpan<byte> body)
    {
        if (!bootstrap.IsDelta)
        {
            DiscoveryResponse full = DiscoveryResponse.Parser.ParseFrom(body);
            return new Update(full.TypeUrl, full.VersionInfo, full.Nonce, IsFull: true, [.. full.Resources.Select(r => ("", r))], []);
        }
        DeltaDiscoveryResponse delta = DeltaDiscoveryResponse.Parser.ParseFrom(body);
        foreach (Resource resource in delta.Resources)
        {
            if (_subscriptions.Find(s => s.Type.Url == delta.TypeUrl) is { } s) { s.Held[resource.Name] = resource.Version; }
        }
        return new Update(delta.TypeUrl, delta.SystemVersionInfo, delta.Nonce, IsFull: false, [.. delta.Resources.Select(r => (r.Name, r.Resource_))], [.. delta.RemovedResources]);
    }

    /// <summary>Applies one response; new EDS and RDS names go out before the ACK, as Envoy does it.</summary>
    private async Task TakeAsync(Update update, RequestWriter writer, CancellationToken stop)
    {
        if (_subscriptions.Find(s => s.Type.Url == update.TypeUrl) is not { } s)
        {
            log.Write("warning", "config", $"Ignoring the message for type URL {update.TypeUrl} as it has no current subscribers.");
            return;
        }
        s.Nonce = update.Nonce;
        foreach (string name in update.Removed) { s.Held.Remove(name); }
        string? set = s.Type == XdsType.Cluster ? "cluster_manager.cds" : s.Type == XdsType.Listener ? "listener_manager.lds" : null;
        if (set is not null) { stats.Add($"{set}.update_attempt"); }
        IReadOnlyList<string> errors = Apply(s, update);
        if (errors.Count == 0) { s.Version = update.Version; }
        else { log.Write("warning", "config", $"{(bootstrap.IsDelta ? "delta" : "gRPC")} config for {update.TypeUrl} rejected: {string.Join('\n', errors)}"); }
        if (set is not null) { stats.Add($"{set}.update_{(errors.Count == 0 ? "success" : "rejected")}"); }
        await FollowNamesAsync(writer, stop);
        await writer.AnswerAsync(s, errors.Count == 0 ? null : string.Join('\n', errors), stop);
    }

    private IReadOnlyList<string> Apply(Subscription s, Update update)
    {
        var errors = new List<string>();
        if (update.Resources.FirstOrDefault(r => r.Resource.TypeUrl != update.TypeUrl) is { Resource: { } other })
        {
            return [$"{other.TypeUrl} does not match the message-wide type URL {update.TypeUrl}"];
        }
        try
        {
            if (s.Type == XdsType.Cluster) { clusters.Apply(update, errors); }
            else if (s.Type == XdsType.Listener) { listeners.Apply(update, errors); }
            else if (s.Type == XdsType.Endpoint) { foreach ((_, Any resource) in update.Resources) { clusters.Apply(ClusterLoadAssignment.Parser.ParseFrom(resource.Value)); } }
            else { foreach ((_, Any resource) in update.Resources) { listeners.Apply(RouteConfiguration.Parser.ParseFrom(resource.Value)); } }
        }
        catch (InvalidProtocolBufferException e) { errors.Add($"Unable to unpack as {s.Type.Url}: {e.Message}"); }
        return errors;
    }

    /// <summary>What became possible: LDS after the clusters are warm, workers after the listeners are.</summary>
    private async Task FollowAsync(RequestWriter writer, CancellationToken stop)
    {
        await FollowNamesAsync(writer, stop);
        if (clusters.IsWarm && clusters.IsReceived && _subscriptions.All(s => s.Type != XdsType.Listener))
        {
            log.Write("info", "upstream", "cm init: all clusters initialized");
            var lds = new Subscription(XdsType.Listener);
            _subscriptions.Add(lds);
            await writer.SubscribeAsync(lds, stop);
        }
        listeners.WarmUp();
    }

    private async Task FollowNamesAsync(RequestWriter writer, CancellationToken stop)
    {
        await WantAsync(XdsType.Endpoint, clusters.EdsNames, writer, stop);
        await WantAsync(XdsType.Route, listeners.RdsNames, writer, stop);
    }

    private async Task WantAsync(XdsType type, IEnumerable<string> names, RequestWriter writer, CancellationToken stop)
    {
        Subscription? s = _subscriptions.Find(x => x.Type == type);
        string[] wanted = [.. names];
        if (s is null && wanted.Length == 0) { return; }
        if (s is null) { _subscriptions.Add(s = new Subscription(type)); }
        s.Names = s.Names.Clear().Union(wanted);
        if (!s.IsOpen) { await writer.SubscribeAsync(s, stop); }
        else { await writer.ChangeAsync(s, stop); }
    }
}
