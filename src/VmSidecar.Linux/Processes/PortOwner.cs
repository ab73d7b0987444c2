using System.Globalization;

namespace VmSidecar.Linux.Processes;

/// <summary>Who listens on a TCP port: found through /proc, as far as the caller may look (other users' processes need root).</summary>
/// <param name="ProcessId">0 when a listener exists but its process cannot be seen.</param>
/// <param name="Name">Short name of the process, or empty.</param>
/// <param name="CommandLine">Arguments, empty when unreadable.</param>
internal sealed record PortOwner(int ProcessId, string Name, IReadOnlyList<string> CommandLine)
{
    private const string Listening = "0A"; // TCP_LISTEN in /proc/net/tcp

    /// <summary>One clause for an error: <c>envoy (pid 812)</c>, or that it cannot be seen.</summary>
    public override string ToString() => ProcessId == 0 ? "a process of another user" : $"{Name} (pid {ProcessId})";

    /// <summary>The listener on <paramref name="port"/> at any address, or null when there is none.</summary>
    public static PortOwner? Find(int port, string proc = "/proc")
    {
        HashSet<string> sockets = [.. Inodes(Path.Combine(proc, "net/tcp"), port), .. Inodes(Path.Combine(proc, "net/tcp6"), port)];
        if (sockets.Count == 0) { return null; }
        foreach (string folder in Directory.EnumerateDirectories(proc))
        {
            if (int.TryParse(Path.GetFileName(folder), CultureInfo.InvariantCulture, out int process) && Holds(folder, sockets))
            {
                return new PortOwner(process, ReadText(Path.Combine(folder, "comm")).Trim(), Arguments(folder));
            }
        }
        return new PortOwner(0, "", []);
    }

    /// <summary>Columns of /proc/net/tcp: 1 local address:port in hex, 3 state, 9 inode (proc(5)).</summary>
    private static IEnumerable<string> Inodes(string table, int port)
    {
        string suffix = ":" + port.ToString("X4", CultureInfo.InvariantCulture);
        foreach (string line in ReadText(table).Split('\n'))
        {
            string[] columns = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (columns.Length > 9 && columns[3] == Listening && columns[1].EndsWith(suffix, StringComparison.Ordinal))
            {
                yield return $"socket:[{columns[9]}]";
            }
        }
    }

    private static bool Holds(string process, HashSet<string> sockets)
    {
        try
        {
            return Directory.EnumerateFileSystemEntries(Path.Combine(process, "fd"))
                .Any(f => new FileInfo(f).LinkTarget is { } target && sockets.Contains(target));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false; // not ours to see, or gone meanwhile
        }
    }

    private static string[] Arguments(string process) => ReadText(Path.Combine(process, "cmdline")).Split('\0', StringSplitOptions.RemoveEmptyEntries);

    private static string ReadText(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "";
        }
    }
}
