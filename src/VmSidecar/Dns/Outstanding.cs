namespace VmSidecar.Dns;

/// <summary>Counts work that was started and not awaited where it started, so that a stop can await all of it. Thread-safe.</summary>
internal sealed class Outstanding
{
    private readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _count = 1; // the owner's own, given back by DrainAsync

    public int Count => Volatile.Read(ref _count) - 1;

    public void Enter() => Interlocked.Increment(ref _count);

    public void Leave()
    {
        if (Interlocked.Decrement(ref _count) == 0) { _drained.TrySetResult(); }
    }

    /// <summary>Ends when everything entered has left. Called once, after nothing enters any more.</summary>
    public Task DrainAsync()
    {
        Leave();
        return _drained.Task;
    }
}
