namespace VmSidecar.Commands.Doctor;

/// <summary>How a check ended.</summary>
internal enum Outcome
{
    /// <summary>Fine.</summary>
    Ok,

    /// <summary>Works, but an operator should know.</summary>
    Warning,

    /// <summary>Broken: this is the cause, or one of them.</summary>
    Failed,

    /// <summary>Does not apply here.</summary>
    Skipped,

    /// <summary>Something it stands on has failed.</summary>
    NotReached,
}

/// <summary>What one check found.</summary>
/// <param name="Outcome">How it ended.</param>
/// <param name="Cause">One sentence without its full stop: what is so.</param>
/// <param name="Fix">One imperative sentence; empty when there is nothing to do.</param>
internal sealed record Finding(Outcome Outcome, string Cause, string Fix = "")
{
    public static Finding Ok(string what) => new(Outcome.Ok, what);

    public static Finding Skip(string why) => new(Outcome.Skipped, why);

    public static Finding Fail(string cause, string fix) => new(Outcome.Failed, cause, fix);
}

/// <summary>A check's finding with the check's name.</summary>
internal sealed record Diagnosis(string Code, string Title, Finding Finding);
