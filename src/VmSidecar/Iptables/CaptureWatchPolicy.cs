using VmSidecar.Configuration;

namespace VmSidecar.Iptables;

/// <summary>What to do about the rules after a look at them and at Envoy. Remembers what was said and done, so that each change is acted on once. No I/O.</summary>
internal sealed class CaptureWatchPolicy(CaptureWatchOptions options)
{
    private DateTimeOffset? _goneSince;
    private bool _lifting; // a lift was begun, and nothing has put the rules on again
    private bool _lifted;  // and it succeeded
    private CaptureAct _act;
    private bool _alarmed;
    private string _trouble = "";

    /// <summary>Looks in a row, the last one included, that found the rules wrong again after a repair: more than one says that somebody else undoes them.</summary>
    public int Repairs { get; private set; }

    /// <summary>True when the act is one that was begun at the look before and failed.</summary>
    public bool IsAgain { get; private set; }

    /// <summary>What to do now. A lift or a restore comes again at every look until <see cref="Done"/> says that it succeeded.</summary>
    public CaptureAct Decide(bool drifted, bool served, DateTimeOffset now)
    {
        CaptureAct before = _act;
        _act = Next(drifted, served, now);
        IsAgain = _act == before && _act is (CaptureAct.Lift or CaptureAct.Restore);
        return _act;
    }

    private CaptureAct Next(bool drifted, bool served, DateTimeOffset now)
    {
        _goneSince = served ? null : _goneSince ?? now;
        if (_lifting && served)
        {
            _lifted = false; // a restore that fails may leave some of the rules on
            return CaptureAct.Restore;
        }
        if (_lifted) { return CaptureAct.None; }
        if (options.FailOpen && _goneSince is { } since && now - since >= options.DeadLimit)
        {
            _lifting = true;
            return CaptureAct.Lift;
        }
        // While nobody serves, rules that are off are as they should be: the unit takes them off when the agent ends, and puts them on when it is back.
        if (drifted && !served) { return CaptureAct.None; }
        if (!drifted)
        {
            Repairs = 0;
            bool settled = _alarmed;
            _alarmed = false;
            return settled ? CaptureAct.Settled : CaptureAct.None;
        }
        if (options.Repair) { Repairs++; return CaptureAct.Repair; }
        if (_alarmed) { return CaptureAct.None; }
        _alarmed = true;
        return CaptureAct.Alarm;
    }

    /// <summary>A look has ended, with all that was to do done.</summary>
    public void Done()
    {
        _trouble = "";
        if (_act == CaptureAct.Lift) { _lifted = true; }
        if (_act == CaptureAct.Restore) { _lifting = _alarmed = false; }
        _act = CaptureAct.None;
    }

    /// <summary>False for what was said at the look before.</summary>
    public bool IsNewTrouble(string problem)
    {
        bool isNew = problem != _trouble;
        _trouble = problem;
        return isNew;
    }
}

/// <summary>The outcome of <see cref="CaptureWatchPolicy.Decide"/>.</summary>
internal enum CaptureAct
{
    /// <summary>All is as it was at the last look.</summary>
    None,

    /// <summary>Say that the rules drifted.</summary>
    Alarm,

    /// <summary>Say so and apply.</summary>
    Repair,

    /// <summary>Take the rules off, loudly.</summary>
    Lift,

    /// <summary>Put them on again.</summary>
    Restore,

    /// <summary>Say that a drift has gone.</summary>
    Settled,
}
