namespace VmSidecar.MiniEnvoy.Observed;

/// <summary>What /drain_listeners and /healthcheck/fail have asked for. Written by the admin API, read by the proxies.</summary>
internal sealed class DrainState(TimeSpan time)
{
    private volatile bool _inbound;
    private volatile bool _outbound;
    private volatile bool _unhealthy;

    /// <summary>--drain-time-s.</summary>
    public TimeSpan Time => time;

    public bool IsUnhealthy { get => _unhealthy; set => _unhealthy = value; }

    /// <summary>True when connections of this direction are told to close.</summary>
    public bool Closes(bool inbound) => _unhealthy || (inbound ? _inbound : _outbound);

    /// <summary>Begins; false when that direction drains already.</summary>
    public bool Begin(bool inboundOnly)
    {
        if (_inbound && (inboundOnly || _outbound)) { return false; }
        _inbound = true;
        _outbound |= !inboundOnly;
        return true;
    }
}
