namespace VmSidecar.Linux.Processes;

/// <summary>What to run. No shell is involved.</summary>
/// <param name="File">Absolute path of the executable.</param>
/// <param name="Arguments">Without argv[0].</param>
/// <param name="Environment">The child's complete environment.</param>
/// <param name="Quiet">Its output goes to /dev/null; no pipes are made.</param>
internal sealed record ChildCommand(string File, IReadOnlyList<string> Arguments, IReadOnlyDictionary<string, string> Environment, bool Quiet = false);

/// <summary>A child that could not be started: the file and what the kernel said.</summary>
internal sealed class ChildStartException(string file, int error)
    : Exception($"{file}: {new System.ComponentModel.Win32Exception(error).Message}")
{
    /// <summary>errno of posix_spawn.</summary>
    public int Error { get; } = error;
}
