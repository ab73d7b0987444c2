using VmSidecar.Grpc;
using VmSidecar.Lifecycle;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Xds;

/// <summary>Who holds the joint stream.</summary>
/// <param name="Session">The session; null: nobody.</param>
/// <param name="Process">The process behind it.</param>
internal sealed record SeatHolder(XdsSession? Session, PeerProcess Process);

/// <summary>
/// The one place of the data plane on the stream to istiod. A newer stream takes it from an older one, and during a hot restart the newer
/// Envoy keeps it: the old one, which opens its stream again as soon as it is ended, is parked. Owned by <see cref="XdsProxy"/>.
/// </summary>
internal sealed class JointSeat(TimeProvider time)
{
    // The newer Envoy opens its stream again within this time when istiod ends it; a parked one must not slip in between.
    private static readonly TimeSpan Release = TimeSpan.FromSeconds(5);

    private readonly Lock _gate = new(); // guards _ended and the writes to _holder
    private readonly Published<SeatHolder> _holder = new(new SeatHolder(null, default));
    private Task _ended = Task.CompletedTask;

    /// <summary>Who holds it now.</summary>
    public SeatHolder Holder => _holder.Current!;

    /// <summary>Gives it to a session. Returns the session that had it, if any, and the task that ends when that one has closed its stream to istiod.</summary>
    public (XdsSession? Previous, Task Ended) Take(XdsSession session, PeerProcess process, Task ended)
    {
        lock (_gate)
        {
            (XdsSession? previous, Task before) = (Holder.Session, _ended);
            _ended = ended;
            _holder.Set(new SeatHolder(session, process));
            return (previous, before);
        }
    }

    /// <summary>Does something while this session holds it, and only then: the cleanup of an old session must not touch what belongs to the new one.</summary>
    public bool IfHeldBy(XdsSession session, Action then)
    {
        lock (_gate)
        {
            if (Holder.Session != session) { return false; }
            then();
            return true;
        }
    }

    /// <summary>The session gives it back, if it still has it; <paramref name="then"/> runs before anybody can take it.</summary>
    public bool Leave(XdsSession session, Action then) => IfHeldBy(session, () =>
    {
        _holder.Set(new SeatHolder(null, default));
        then();
    });

    /// <summary>The holder is no Envoy: its age keeps nobody out.</summary>
    public void DropAge(XdsSession session) => IfHeldBy(session, () => _holder.Set(new SeatHolder(session, default)));

    /// <summary>True while a process that began later holds it.</summary>
    public bool IsHeldByNewer(PeerProcess process) => Holder.Process.IsNewerThan(process);

    /// <summary>
    /// Holds an old Envoy's stream open and silent while a newer one is served: it keeps the configuration it has and drains. Ends when the client goes,
    /// or when the newer one has been away for long enough; the old one opens its stream again then, and is served.
    /// </summary>
    public async Task<GrpcStatus> ParkAsync(IGrpcServerCall call, CancellationToken aborted)
    {
        using var done = CancellationTokenSource.CreateLinkedTokenSource(aborted);
        Task<GrpcStatus> gone = DiscardAsync(call, done.Token);
        try
        {
            while (true)
            {
                (SeatHolder? holder, Task changed) = _holder.Watch();
                bool free = !holder!.Process.IsNewerThan(call.Process);
                using var timer = CancellationTokenSource.CreateLinkedTokenSource(done.Token);
                Task wait = Task.Delay(free ? Release : Timeout.InfiniteTimeSpan, time, timer.Token);
                Task first = await Task.WhenAny(gone, changed, wait);
                await timer.CancelAsync();
                if (first == gone) { return await gone; }
                if (first == wait && free) { return new GrpcStatus(GrpcStatusCode.Unavailable, "the newer Envoy has gone; open the stream again"); }
            }
        }
        finally
        {
            await done.CancelAsync();
            await gone;
        }
    }

    private static async Task<GrpcStatus> DiscardAsync(IGrpcServerCall call, CancellationToken stop)
    {
        try
        {
            while (await call.ReadAsync(stop) is { } message) { message.Dispose(); }
            return GrpcStatus.Ok;
        }
        catch (GrpcException e) { return e.Status; }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { return new GrpcStatus(GrpcStatusCode.Unavailable, "the agent is stopping"); }
    }
}
