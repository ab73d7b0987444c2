namespace VmSidecar.Configuration;

/// <summary>A mistake in an environment file; thrown by <see cref="BashWord"/> and <see cref="BashEnvFile"/>, always caught by the latter, which reads on.</summary>
internal sealed class BashSyntaxException(int line, string problem, string fix) : Exception(problem)
{
    public int Line { get; } = line;
    public string Problem { get; } = problem;
    public string Fix { get; } = fix;

    /// <summary>Word that ends the shell construct (<c>fi</c>, <c>done</c>...), so that its lines are not reported one by one; null: none.</summary>
    public string? Terminator { get; init; }
}
