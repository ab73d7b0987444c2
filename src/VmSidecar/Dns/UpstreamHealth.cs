namespace VmSidecar.Dns;

/// <summary>
/// What one server's recent behaviour says: after three asks in a row without an answer (or one refused by the kernel) it is down and asked last. After a
/// while one question may try it again, not all of them: each further miss doubles the while. One answer clears it.
/// </summary>
internal sealed class UpstreamHealth(TimeProvider time)
{
    private const int MissesToDown = 3;
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(200); // below this an abandoned ask says nothing
    private static readonly TimeSpan TrialTime = TimeSpan.FromSeconds(1); // a trial that was never sent must not be the last
    private static readonly Lifecycle.Backoff Down = new(TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(30), Jitter: 0);

    private readonly Lock _gate = new();
    private int _misses;
    private long _downSince;
    private TimeSpan _downFor;
    private long _triedAt;
    private TimeSpan _roundTrip;

    /// <summary>Time of an answer, smoothed; zero before the first.</summary>
    public TimeSpan RoundTrip { get { lock (_gate) { return _roundTrip; } } }

    /// <summary>True while the server is better asked last.</summary>
    public bool IsDown { get { lock (_gate) { return _misses >= MissesToDown; } } }

    /// <summary>True for the one question, now and then, that is to find out whether a server that is down has come back.</summary>
    public bool TakeTrial()
    {
        lock (_gate)
        {
            if (_misses < MissesToDown || time.GetElapsedTime(_downSince) < _downFor || time.GetElapsedTime(_triedAt) < TrialTime) { return false; }
            _triedAt = time.GetTimestamp();
            return true;
        }
    }

    /// <summary>True after any miss since the last answer.</summary>
    public bool IsSuspect { get { lock (_gate) { return _misses > 0; } } }

    public void Answered(TimeSpan took)
    {
        lock (_gate)
        {
            _misses = 0;
            _roundTrip = _roundTrip == TimeSpan.Zero ? took : (_roundTrip * 7 + took) / 8;
        }
    }

    /// <summary>An ask ended without an answer after this long.</summary>
    public void Silent(TimeSpan waited)
    {
        if (waited >= Patience) { Miss(1); }
    }

    /// <summary>The kernel said that nobody listens there, or the answer was garbage.</summary>
    public void Unreachable() => Miss(MissesToDown);

    private void Miss(int weight)
    {
        lock (_gate)
        {
            _misses = Math.Min(_misses + weight, 1000);
            if (_misses < MissesToDown) { return; }
            _downSince = time.GetTimestamp();
            _downFor = Down.After(_misses - MissesToDown + 1, 0);
        }
    }
}
