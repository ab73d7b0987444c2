using System.Globalization;

using VmSidecar.Linux.Sockets;

namespace VmSidecar.Linux.Processes;

/// <summary>
/// Sockets, pipes and nameless files that came with execve(2) from the program before, when it cannot be told any more which they are: they lack FD_CLOEXEC, which everything
/// this program opens has. Standard input, output and error stay. For the first moments of a process.
/// </summary>
internal static class LeftOpen
{
    private const int GetFlags = 1, CloseFlag = 1; // F_GETFD, FD_CLOEXEC
    private static readonly string[] s_kinds = ["socket:", "pipe:", "/memfd:"]; // as the links in /proc/self/fd begin
    private const int Standard = 2;                // the last of stdin, stdout, stderr

    /// <summary>Their numbers, in order; none where /proc cannot be read.</summary>
    public static IReadOnlyList<int> Find()
    {
        try
        {
            return [.. new DirectoryInfo("/proc/self/fd").EnumerateFileSystemInfos().Where(f => IsOfAgent(f.LinkTarget))
                .Select(f => int.Parse(f.Name, NumberStyles.None, CultureInfo.InvariantCulture)).Where(IsInherited).Order()];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return []; }
    }

    /// <summary>Closes them.</summary>
    public static void Close()
    {
        foreach (int number in Find()) { _ = SocketCalls.Close(number); }
    }

    private static bool IsOfAgent(string? target) => target is not null && s_kinds.Any(k => target.StartsWith(k, StringComparison.Ordinal));

    private static bool IsInherited(int number) => number > Standard && Libc.Fcntl(number, GetFlags, 0) is >= 0 and var flags && (flags & CloseFlag) == 0;
}
