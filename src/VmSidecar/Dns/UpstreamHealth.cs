namespace VmSidecar.Dns;

/// <summary>
/// What one server's recent behaviour says: after three questions in a row without an answer (or one refused by the kernel) it is down and asked last. After a
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
    private bool _isDown;
    private long _downSince;
    private TimeSpan _downFor;
    private long _triedAt;
    private long _answeredAt;
    private TimeSpan _roundTrip;

    /// <summary>Time of an answer, smoothed; zero before the first.</summary>
    public TimeSpan RoundTrip { get { lock (_gate) { return _roundTrip; } } }

    /// <summary>True while the server is better asked last.</summary>
    public bool IsDown { get { lock (_gate) { return _isDown; } } }

    /// <summary>True when the last few questions got no answer, whether or not the server lives.</summary>
    public bool IsSilent { get { lock (_gate) { return _misses >= MissesToDown; } } }

    /// <summary>True after any miss since the last answer.</summary>
    public bool IsSuspect { get { lock (_gate) { return _misses > 0; } } }

    /// <summary>True for the one question, now and then, that is to find out whether a server that is down has come back.</summary>
    public bool TakeTrial()
    {
        lock (_gate)
        {
            if (!_isDown || time.GetElapsedTime(_downSince) < _downFor || time.GetElapsedTime(_triedAt) < TrialTime) { return false; }
            _triedAt = time.GetTimestamp();
            return true;
        }
    }

    public void Answered(TimeSpan took)
    {
        lock (_gate)
        {
            _misses = 0;
            _isDown = false;
            _answeredAt = time.GetTimestamp();
            _roundTrip = _roundTrip == TimeSpan.Zero ? took : (_roundTrip * 7 + took) / 8;
        }
    }

    /// <summary>A question sent at <paramref name="begin"/> was given up without an answer. <paramref name="proves"/>: false where it may be the question's fault, so that this alone puts nobody down.</summary>
    public void Silent(long begin, bool proves)
    {
        if (time.GetElapsedTime(begin) >= Patience) { Miss(begin, 1, proves); }
    }

    /// <summary>The kernel said that nobody listens there, or the answer was garbage; to a question sent at <paramref name="begin"/>.</summary>
    public void Unreachable(long begin) => Miss(begin, MissesToDown, proves: true);

    /// <summary>It has answered what it knows by itself: it lives, whatever becomes of the questions.</summary>
    public void Proven()
    {
        lock (_gate)
        {
            _isDown = false;
            _answeredAt = time.GetTimestamp();
        }
    }

    /// <summary>It has not answered even what it knows by itself, asked since <paramref name="begin"/>. An answer that came meanwhile counts for more.</summary>
    public void Disproven(long begin)
    {
        lock (_gate)
        {
            if (begin >= _answeredAt) { GoDown(); }
        }
    }

    /// <summary>What was sent before the server went down is of the same outage: a burst of questions makes it no worse.</summary>
    private void Miss(long begin, int weight, bool proves)
    {
        lock (_gate)
        {
            if (_isDown && begin <= _downSince) { return; }
            _misses = Math.Min(_misses + weight, 1000);
            if (_misses >= MissesToDown && proves) { GoDown(); }
        }
    }

    private void GoDown()
    {
        _isDown = true;
        _downSince = time.GetTimestamp();
        _downFor = Down.After(Math.Max(_misses - MissesToDown, 0) + 1, 0);
    }
}
