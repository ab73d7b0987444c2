namespace VmSidecar.Linux.Processes;

/// <summary>Runs short programs to their end. A seam for tests; <see cref="CommandRunner"/> is the real one.</summary>
internal interface ICommandRunner
{
    /// <summary>Runs <paramref name="program"/> (found on the search path unless absolute) without a shell and waits for its end.</summary>
    Task<CommandResult> RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop);
}
