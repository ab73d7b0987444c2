namespace VmSidecar.TestKit.Istiod.Faults;

/// <summary>Holds back what goes towards clients, after so many more bytes of all connections together: the moment of a fault is the test's to choose. Owned by <see cref="FrontDoor"/>.</summary>
internal sealed class DoorGate(long after)
{
    private readonly TaskCompletionSource _reached = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _released = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _left = after;

    /// <summary>Ends when something is held back.</summary>
    public Task Reached => _reached.Task;

    /// <summary>Ends when all may pass again.</summary>
    public Task Released => _released.Task;

    /// <summary>How many of so many bytes pass now.</summary>
    public int Take(int length)
    {
        if (_released.Task.IsCompleted) { return length; }
        long left = Interlocked.Add(ref _left, -length);
        if (left >= 0) { return length; }
        _reached.TrySetResult();
        return (int)Math.Max(left + length, 0);
    }

    public void Release() => _released.TrySetResult();
}
