namespace VmSidecar.Linux;

/// <summary>
/// Whether a stream of this process is the journal's own (systemd.exec(5), JOURNAL_STREAM): the variable names the socket by device and inode, and a child
/// that inherits the variable but writes to a terminal, a pipe or a file must not prefix its lines with priorities.
/// </summary>
internal static class JournalStream
{
    /// <summary>True when standard output or standard error is the socket <paramref name="variable"/> (<c>device:inode</c>) names.</summary>
    /// <param name="variable">The value of JOURNAL_STREAM; null when it is not set.</param>
    /// <param name="descriptors">Folder of this process's open files.</param>
    public static bool IsConnected(string? variable, string descriptors = "/proc/self/fd")
    {
        if (variable?.Split(':') is not [_, { Length: > 0 } inode]) { return false; }
        string socket = $"socket:[{inode}]"; // all sockets are of one device
        return Target(Path.Combine(descriptors, "1")) == socket || Target(Path.Combine(descriptors, "2")) == socket;
    }

    private static string? Target(string link)
    {
        try { return new FileInfo(link).LinkTarget; }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return null; }
    }
}
