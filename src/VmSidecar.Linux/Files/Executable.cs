namespace VmSidecar.Linux.Files;

/// <summary>Says whether a path is a program: a regular file somebody may execute. A folder, or a copy without x, is none.</summary>
internal static class Executable
{
    private const UnixFileMode Anybody = UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;

    public static bool Is(string path)
    {
        try { return File.Exists(path) && (File.GetUnixFileMode(path) & Anybody) != 0; }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return false; }
    }
}
