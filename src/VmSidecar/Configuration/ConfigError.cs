namespace VmSidecar.Configuration;

/// <summary>One mistake of the operator's: where, what, how to mend it. Collected, never thrown one by one.</summary>
/// <param name="File">Path, or <c>environment</c>, or <c>command line</c>.</param>
/// <param name="Line">1-based; 0 where there is no line.</param>
/// <param name="Key">The setting.</param>
/// <param name="Problem">What is wrong, with the value.</param>
/// <param name="Fix">One imperative sentence.</param>
/// <param name="IsWarning">True: reported, but the start goes on.</param>
internal sealed record ConfigError(string File, int Line, string Key, string Problem, string Fix, bool IsWarning = false)
{
    /// <summary>True for a mistake that time or the operator can mend while the agent runs: <c>check</c> counts it, a start reports it and goes on.</summary>
    public bool IsMendable { get; init; }

    /// <summary>True where the component concerned says it too once it runs: a start that goes on leaves it to that.</summary>
    public bool IsToldLater { get; init; }

    public override string ToString() => $"{File}{(Line > 0 ? $":{Line}" : "")}: {Key}: {Problem}. {Fix}";
}
