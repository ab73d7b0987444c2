using VmSidecar.Grpc;
using VmSidecar.Health;

namespace VmSidecar.Xds;

/// <summary>Ends that are not cut short: the workload's goodbye is taken by istiod, and what istiod has sent before its own goodbye by Envoy.</summary>
internal sealed partial class XdsSession
{
    private static readonly TimeSpan LastWordsLimit = TimeSpan.FromSeconds(1); // an istiod that does not take them is not waited for

    private readonly TaskCompletionSource _turn = new(TaskCreationOptions.RunContinuationsAsynchronously); // istiod has said goodbye, and it is time to leave it
    private Task _unread = Task.CompletedTask; // a wait for istiod that nobody waits for any more; ends with the stream

    /// <summary>The workload's goodbye, where istiod was told health on this stream and may not have read that yet; null: there is none.</summary>
    private HealthState? Unsaid => !IsAside && _listenersAsked.Task.IsCompletedSuccessfully && context.Links.Health.Current is { IsLast: true } last ? last : null;

    /// <summary>True when istiod's transport has taken this state; false once nothing can be told any more.</summary>
    private async Task<bool> ToldAsync(HealthState state, Task over, CancellationToken limit)
    {
        while (true)
        {
            (HealthState? said, Task changed) = Reported.Watch();
            if (ReferenceEquals(said, state)) { return true; }
            if (over.IsCompleted) { return false; }
            await Task.WhenAny(changed, over).WaitAsync(limit);
        }
    }

    /// <summary>Envoy has gone while the workload says goodbye: that is written, the stream half-closed, and istiod given a moment to end it; a reset would overtake it.</summary>
    private async Task LastWordsAsync(IGrpcClientCall istiod, HealthState last, Task upstream, Task<SessionEnd> responses, CancellationToken stop)
    {
        using var limit = new CancellationTokenSource(LastWordsLimit, context.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, stop);
        Task end = ReadOutAsync(istiod, responses, either.Token);
        try
        {
            if (!await ToldAsync(last, upstream, either.Token)) { return; }
            _requests.Complete();
            await end;
        }
        catch (OperationCanceledException) when (either.IsCancellationRequested) { }
        finally
        {
            await either.CancelAsync();
            await end.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // cancelled, or a fault of the loop, which surfaces with it
        }
    }

    /// <summary>Returns when istiod has ended the stream. What it pushes while there is no Envoy to take it is dropped: an istiod that cannot write reads nothing either.</summary>
    private static async Task ReadOutAsync(IGrpcClientCall istiod, Task<SessionEnd> responses, CancellationToken stop)
    {
        if ((await responses.WaitAsync(stop)).Cause != SessionCause.Envoy) { return; }
        using var dropped = new PieceList();
        Memory<byte> room = dropped.Room();
        while (await istiod.BeginReadAsync(stop) is >= 0 and int length)
        {
            if (await istiod.ReadPieceAsync(room, stop) == 0 && length > 0) { return; }
        }
    }

    /// <summary>Tells the loop that reads istiod when to leave an istiod that has said goodbye.</summary>
    private async Task<SessionEnd> LeaveInTimeAsync(IGrpcClientCall istiod, CancellationToken stop)
    {
        try
        {
            await IstiodGoodbye.TimeToLeaveAsync(istiod, context, stop);
            _turn.TrySetResult();
            await Task.Delay(Timeout.InfiniteTimeSpan, context.Time, stop);
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { }
        return SessionEnd.Stopped;
    }

    /// <summary>
    /// The length of the next message; -1: the stream has ended; null: it is time to leave, and no message has begun. What has arrived by then is still read: a message goes
    /// to Envoy whole or not at all, and Envoy asks again for the rest on its next stream.
    /// </summary>
    private async ValueTask<int?> NextLengthAsync(IGrpcClientCall istiod, CancellationToken stop)
    {
        ValueTask<int> begun = istiod.BeginReadAsync(stop);
        if (begun.IsCompleted) { return await begun; }
        Task<int> next = begun.AsTask();
        await Task.WhenAny(next, _turn.Task);
        if (next.IsCompleted) { return await next; }
        _unread = next;
        return null;
    }
}
