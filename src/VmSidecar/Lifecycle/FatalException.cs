namespace VmSidecar.Lifecycle;

/// <summary>A condition that ends the process in order: which component, what happened, what the operator does about it.</summary>
internal sealed class FatalException(string component, string problem, string fix, Exception? cause = null)
    : Exception($"{component}: {problem}. {fix}", cause)
{
    /// <summary>The component that cannot go on.</summary>
    public string Component { get; } = component;

    /// <summary>One clause: what happened.</summary>
    public string Problem { get; } = problem;

    /// <summary>One imperative sentence: what to do.</summary>
    public string Fix { get; } = fix;
}
