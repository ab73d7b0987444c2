namespace VmSidecar.Linux.Processes;

/// <summary>How a command ended and what it said. A value.</summary>
/// <param name="ExitCode">Of the program; 127 when it could not be started, 124 when it overran its time.</param>
/// <param name="Output">Standard output, cut at the bound of the runner.</param>
/// <param name="Error">Standard error, cut likewise.</param>
internal sealed record CommandResult(int ExitCode, string Output, string Error)
{
    public const int NotStarted = 127;
    public const int TimedOut = 124;

    public bool Succeeded => ExitCode == 0;

    /// <summary>What to show a person.</summary>
    public string FirstErrorLine => Error.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).FirstOrDefault() ?? $"exit code {ExitCode}";
}
