namespace VmSidecar.Linux.Processes;

/// <summary>
/// Wraps a command so that the kernel kills it when the agent dies, even by SIGKILL. posix_spawn has no such attribute; util-linux's
/// setpriv sets it and then becomes the command (same process id). Where setpriv is missing or too old (before 2.33) the command
/// is left as it is and the unit's cgroup, or the stale-process check of the next start, does the cleaning.
/// </summary>
internal static class ParentDeath
{
    private static readonly string[] Places = ["/usr/bin/setpriv", "/bin/setpriv"];
    private static readonly ChildCommand Nothing = new("", [], new Dictionary<string, string>(), Quiet: true);

    /// <summary>The wrapping that works on this host, or null. Runs setpriv once.</summary>
    public static async Task<string?> FindAsync()
    {
        string? setpriv = Places.FirstOrDefault(File.Exists);
        if (setpriv is null) { return null; }
        try
        {
            ChildProcess probe = await ChildProcess.StartAsync(Nothing with { File = setpriv, Arguments = Prefix("/bin/true") });
            return (await probe.Exited).IsNormal ? setpriv : null;
        }
        catch (ChildStartException)
        {
            return null;
        }
    }

    /// <summary>The command run through <paramref name="setpriv"/>, or unchanged when that is null.</summary>
    public static ChildCommand Wrap(ChildCommand command, string? setpriv) =>
        setpriv is null ? command : command with { File = setpriv, Arguments = [.. Prefix(command.File), .. command.Arguments] };

    private static string[] Prefix(string file) => ["--pdeathsig", "KILL", "--", file];
}
