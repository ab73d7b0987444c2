using System.Globalization;

namespace VmSidecar.Linux.Processes;

/// <summary>Who listens on a TCP port: found through /proc, as far as the caller may look (other users' processes need root).</summary>
/// <param name="ProcessId">0 when a listener exists but its process cannot be seen.</param>
/// <param name="Name">Short name of the process, or empty.</param>
/// <param name="CommandLine">Arguments, empty when unreadable.</param>
internal sealed record PortOwner(int ProcessId, string Name, IReadOnlyList<string> CommandLine)
{
    private const string ListenState = "0A"; // TCP_LISTEN in /proc/net/tcp

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

    /// <summary>The ports on which processes of these names listen, as far as the caller may look.</summary>
    public static IEnumerable<int> Listening(IReadOnlyCollection<string> names, string proc = "/proc")
    {
        ILookup<string, int> ports = Listeners(Path.Combine(proc, "net/tcp")).Concat(Listeners(Path.Combine(proc, "net/tcp6"))).ToLookup(l => l.Socket, l => l.Port);
        return
        [
            .. Directory.EnumerateDirectories(proc)
                .Where(f => char.IsAsciiDigit(Path.GetFileName(f)[0]) && names.Contains(ReadText(Path.Combine(f, "comm")).Trim()))
                .SelectMany(Sockets).SelectMany(s => ports[s]).Distinct().Order(),
        ];
    }

    /// <summary>Columns of /proc/net/tcp: 1 local address:port in hex, 3 state, 9 inode (proc(5)).</summary>
    private static IEnumerable<(string Socket, int Port)> Listeners(string table)
    {
        foreach (string line in ReadText(table).Split('\n'))
        {
            string[] columns = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (columns.Length > 9 && columns[3] == ListenState
                && int.TryParse(columns[1][(columns[1].LastIndexOf(':') + 1)..], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out int port))
            {
                yield return ($"socket:[{columns[9]}]", port);
            }
        }
    }

    private static IEnumerable<string> Inodes(string table, int port) => Listeners(table).Where(l => l.Port == port).Select(l => l.Socket);

    private static bool Holds(string process, HashSet<string> sockets) => Sockets(process).Any(sockets.Contains);

    private static List<string> Sockets(string process)
    {
        try
        {
            return [.. Directory.EnumerateFileSystemEntries(Path.Combine(process, "fd")).Select(f => new FileInfo(f).LinkTarget ?? "")];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return []; // not ours to see, or gone meanwhile
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
