namespace VmSidecar.TestKit.Istiod;

/// <summary>Lets a test await a condition over the double's state without polling: every change of state re-evaluates it.</summary>
internal sealed class StateSignal
{
    private volatile TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Something changed.</summary>
    public void Raise() => Interlocked.Exchange(ref _changed, new(TaskCreationOptions.RunContinuationsAsynchronously)).TrySetResult();

    /// <summary>Returns once <paramref name="condition"/> holds; <see cref="TimeoutException"/> with <paramref name="what"/> after the deadline.</summary>
    public async Task UntilAsync(Func<bool> condition, string what, TimeSpan deadline)
    {
        using var timer = new CancellationTokenSource(deadline);
        while (true)
        {
            Task changed = _changed.Task; // taken before the look: a change between the two is not lost
            if (condition()) { return; }
            try { await changed.WaitAsync(timer.Token); }
            catch (OperationCanceledException) { throw new TimeoutException($"FakeIstiod did not see in time: {what}"); }
        }
    }
}
