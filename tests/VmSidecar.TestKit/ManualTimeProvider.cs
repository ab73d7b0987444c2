namespace VmSidecar.TestKit;

/// <summary>A clock that moves only when told. A test awaits the moment a timer is armed, then advances. Thread-safe.</summary>
internal sealed class ManualTimeProvider : TimeProvider
{
    private readonly Lock _gate = new();
    private readonly List<ManualTimer> _timers = [];
    private readonly Queue<(TimeSpan Wait, DateTimeOffset Due)> _armed = new();
    private TaskCompletionSource _armedSignal = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private DateTimeOffset _now;

    public ManualTimeProvider(DateTimeOffset? start = null) => _now = start ?? new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    public override DateTimeOffset GetUtcNow() { lock (_gate) { return _now; } }

    public override long GetTimestamp() => GetUtcNow().UtcTicks;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        var timer = new ManualTimer(this, callback, state);
        timer.Change(dueTime, period);
        return timer;
    }

    /// <summary>The due time of the next timer armed and not yet taken by this method; waits for one, at most <paramref name="deadline"/> of real time.</summary>
    public async Task<TimeSpan> NextTimerAsync(TimeSpan deadline) => (await NextArmedAsync(deadline)).Wait;

    /// <summary>As <see cref="NextTimerAsync"/>, but the moment it falls due. A timer that is armed while <see cref="Advance"/> runs others counts from the moment the clock has reached then.</summary>
    public async Task<DateTimeOffset> NextDueAsync(TimeSpan deadline) => (await NextArmedAsync(deadline)).Due;

    /// <summary>Returns when a timer armed with this wait has yet to fall due; waits for one, at most <paramref name="deadline"/> of real time. One that has run or was given up does not count, as it does with <see cref="NextTimerAsync"/>.</summary>
    public Task PendingAsync(TimeSpan wait, TimeSpan deadline) => UntilArmedAsync(() => _timers.Any(t => t.Wait == wait), deadline);

    private async Task<(TimeSpan Wait, DateTimeOffset Due)> NextArmedAsync(TimeSpan deadline)
    {
        (TimeSpan, DateTimeOffset) armed = default;
        await UntilArmedAsync(() => _armed.TryDequeue(out armed), deadline);
        return armed;
    }

    /// <summary>Looks, under the gate, now and whenever a timer is armed.</summary>
    private async Task UntilArmedAsync(Func<bool> found, TimeSpan deadline)
    {
        long begin = System.GetTimestamp();
        while (true)
        {
            Task signal;
            lock (_gate)
            {
                if (found()) { return; }
                signal = _armedSignal.Task;
            }
            await signal.WaitAsync(deadline - System.GetElapsedTime(begin));
        }
    }

    /// <summary>Moves the clock and runs every timer that falls due, in order of due time, on this thread.</summary>
    public void Advance(TimeSpan by)
    {
        DateTimeOffset end;
        lock (_gate) { end = _now + by; }
        while (true)
        {
            ManualTimer? next;
            lock (_gate)
            {
                next = _timers.Where(t => t.Due <= end).MinBy(t => t.Due);
                if (next is null) { _now = end; return; }
                if (next.Due > _now) { _now = next.Due; }
                next.Fired();
            }
            next.Run();
        }
    }

    /// <summary>Steps the wall clock without running timers: a clock jump.</summary>
    public void Jump(TimeSpan by) { lock (_gate) { _now += by; } }

    private sealed class ManualTimer(ManualTimeProvider owner, TimerCallback callback, object? state) : ITimer
    {
        private TimeSpan _period = Timeout.InfiniteTimeSpan;

        public DateTimeOffset Due { get; private set; } = DateTimeOffset.MaxValue;

        public TimeSpan Wait { get; private set; }

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            lock (owner._gate)
            {
                _period = period;
                owner._timers.Remove(this);
                if (dueTime == Timeout.InfiniteTimeSpan) { return true; }
                (Wait, Due) = (dueTime, owner._now + dueTime);
                owner._timers.Add(this);
                owner._armed.Enqueue((dueTime, Due));
                owner._armedSignal.TrySetResult();
                owner._armedSignal = new(TaskCreationOptions.RunContinuationsAsynchronously);
                return true;
            }
        }

        public void Fired()
        {
            if (_period > TimeSpan.Zero) { Due += _period; }
            else { owner._timers.Remove(this); }
        }

        public void Run() => callback(state);

        public void Dispose() { lock (owner._gate) { owner._timers.Remove(this); } }

        public ValueTask DisposeAsync() { Dispose(); return ValueTask.CompletedTask; }
    }
}
