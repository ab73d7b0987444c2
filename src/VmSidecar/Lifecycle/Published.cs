namespace VmSidecar.Lifecycle;

/// <summary>A value with one writer and many readers. A late reader sees the latest value; <see cref="Watch"/> pairs a value with the task that ends when it is replaced.</summary>
internal sealed class Published<T> where T : class
{
    private volatile State _state;

    public Published(T? initial = null) => _state = new State(initial);

    /// <summary>The latest value, null before the first.</summary>
    public T? Current => _state.Value;

    /// <summary>The latest value and a task that ends at the next <see cref="Set"/>.</summary>
    public (T? Value, Task Changed) Watch()
    {
        State now = _state;
        return (now.Value, now.Changed.Task);
    }

    /// <summary>Replaces the value and wakes the watchers of the old one. Called by the one writer only.</summary>
    public void Set(T value) => Interlocked.Exchange(ref _state, new State(value)).Changed.SetResult();

    /// <summary>Waits until there is a value.</summary>
    public async Task<T> FirstAsync(CancellationToken stop)
    {
        while (true)
        {
            (T? value, Task changed) = Watch();
            if (value is not null) { return value; }
            await changed.WaitAsync(stop);
        }
    }

    private sealed class State(T? value)
    {
        public readonly T? Value = value;
        public readonly TaskCompletionSource Changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
