namespace VmSidecar.Identity;

/// <summary>
/// Which reason for a refusal has been told. A CA call and an xDS stream that meet the same refusal have one cause and one fix, and make one
/// line. While the first CA operation of the process is under way streams keep quiet: its line is the one that operators look for. Owned by
/// IstiodAccess; thread-safe.
/// </summary>
internal sealed class RefusalNews
{
    private readonly Lock _gate = new();
    private string _told = "";
    private bool _held;

    /// <summary>The first CA operation begins: streams wait for what it says.</summary>
    public void Hold() { lock (_gate) { _held = true; } }

    /// <summary>It has ended.</summary>
    public void Release() { lock (_gate) { _held = false; } }

    /// <summary>The CA side has told this reason.</summary>
    public void Told(string advice)
    {
        lock (_gate) { (_told, _held) = (WithoutNumbers(advice), false); }
    }

    /// <summary>True, and from now on told, when nobody has told this reason since istiod last answered.</summary>
    public bool Tell(string advice)
    {
        string reason = WithoutNumbers(advice);
        lock (_gate)
        {
            if (_held || _told == reason) { return false; }
            _told = reason;
            return true;
        }
    }

    /// <summary>istiod has answered: a later refusal is news.</summary>
    public void Over() { lock (_gate) { _told = ""; } }

    /// <summary>True when two reasons differ at most in a time of day or a port: the same to a reader.</summary>
    public static bool Same(string one, string other) => WithoutNumbers(one) == WithoutNumbers(other);

    private static string WithoutNumbers(string text) => string.Concat(text.Where(c => !char.IsAsciiDigit(c)));
}
