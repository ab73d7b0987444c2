using VmSidecar.Configuration;
using VmSidecar.Linux.Processes;

namespace VmSidecar.Commands;

/// <summary>One file of the bug report: its name in the archive, where it comes from in words, and how to get it (null: there is none).</summary>
internal sealed record ReportItem(string Name, string From, Func<CancellationToken, Task<byte[]?>> TakeAsync)
{
    private const int MaxFile = 4 * 1024 * 1024; // the end of a long log is what matters

    /// <summary>A file of the host; of a long one the end.</summary>
    public static ReportItem OfFile(string name, string path) => new(name, path, _ => Task.FromResult(Tail(path)));

    /// <summary>What a command prints, both streams.</summary>
    public static ReportItem OfCommand(string name, ICommandRunner runner, string program, params string[] arguments) => new(name, $"{program} {string.Join(' ', arguments)}".Trim(), async stop =>
    {
        if (CommandRunner.Find(program) is null) { return null; }
        CommandResult done = await runner.RunAsync(program, arguments, "", stop);
        return End(System.Text.Encoding.UTF8.GetBytes(done.Output + done.Error));
    });

    /// <summary>What a page of a local port answers.</summary>
    public static ReportItem OfPage(string name, HttpMessageInvoker http, int port, string path) => new(name, $"http://127.0.0.1:{port}{path}", async stop =>
    {
        using var question = new HttpRequestMessage(HttpMethod.Get, $"http://127.0.0.1:{port}{path}");
        (int status, string body, string? problem) = await LocalHttp.SendAsync(http, question, TimeSpan.FromSeconds(10), TimeProvider.System, stop);
        return problem is not null ? System.Text.Encoding.UTF8.GetBytes(problem + "\n") : status == 200 ? End(System.Text.Encoding.UTF8.GetBytes(body)) : null;
    });

    /// <summary>What one of our own verbs prints.</summary>
    public static ReportItem OfText(string name, string from, Func<StringWriter, CancellationToken, Task> write) => new(name, from, async stop =>
    {
        using var text = new StringWriter(System.Globalization.CultureInfo.InvariantCulture);
        await write(text, stop);
        return System.Text.Encoding.UTF8.GetBytes(text.ToString());
    });

    /// <summary>Names, sizes, owners and modes of the files below some folders; no content.</summary>
    public static byte[] Listing(HostPaths paths, IEnumerable<string> folders)
    {
        var lines = new List<string>();
        foreach (string folder in folders.Where(Directory.Exists))
        {
            foreach (FileSystemInfo entry in new DirectoryInfo(folder).EnumerateFileSystemInfos("*", new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = true, AttributesToSkip = 0, MaxRecursionDepth = 3 }).Take(1000))
            {
                lines.Add(FormattableString.Invariant($"{entry.UnixFileMode} {(entry as FileInfo)?.Length ?? 0} {entry.LastWriteTimeUtc:u} {entry.FullName}{(entry.LinkTarget is { } target ? " -> " + target : "")}"));
            }
        }
        return System.Text.Encoding.UTF8.GetBytes(string.Join('\n', lines) + "\n" + paths.Root + "\n");
    }

    private static byte[] End(byte[] bytes) => bytes.Length <= MaxFile ? bytes : bytes[^MaxFile..];

    private static byte[]? Tail(string path)
    {
        if (!File.Exists(path)) { return null; }
        // Most of these folders are the agent's user's: as root a link there must lead nowhere.
        if (path != "/etc/resolv.conf" && new FileInfo(path).LinkTarget is { } target) { return System.Text.Encoding.UTF8.GetBytes($"a link to {target}; not followed\n"); }
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        if (file.CanSeek && file.Length > MaxFile) { file.Position = file.Length - MaxFile; }
        byte[] bytes = new byte[MaxFile];
        return bytes[..file.ReadAtLeast(bytes, MaxFile, throwOnEndOfStream: false)];
    }
}
