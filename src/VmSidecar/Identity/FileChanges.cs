using System.Security.Cryptography;
using System.Threading.Channels;

namespace VmSidecar.Identity;

/// <summary>
/// Tells when the content of some files has changed, however it was replaced: written in place, renamed over, a symbolic link swapped
/// anywhere on the way, a folder that did not exist yet. Watches folders, not files, so no watch is lost with a file; compares content, so
/// only real changes count; looks by itself now and then, in case a watch could not be had. One reader.
/// </summary>
internal sealed class FileChanges : IDisposable
{
    private static readonly TimeSpan Settle = TimeSpan.FromMilliseconds(100); // FILE_DEBOUNCE_DURATION: several files of one set
    private static readonly TimeSpan Look = TimeSpan.FromSeconds(30);         // without any event

    private readonly string[] _files;
    private readonly TimeProvider _time;
    private readonly Dictionary<string, IDisposable> _watchers = new(StringComparer.Ordinal);

    // Bound 1, written by watchers' threads, read by the one waiting: a full queue already says "look", so more is dropped.
    private readonly Channel<bool> _events = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true });
    private readonly HashSet<string> _failed = new(StringComparer.Ordinal);
    private readonly Action<string, string>? _unwatched;
    private readonly Func<string, IDisposable> _watch;
    private string _last;

    /// <param name="files">Followed; nulls are left out.</param>
    /// <param name="time">For the regular look and the settling.</param>
    /// <param name="unwatched">Told once of each folder that cannot be watched, and why.</param>
    /// <param name="watch">Watches a folder; null: by inotify.</param>
    public FileChanges(IEnumerable<string?> files, TimeProvider time, Action<string, string>? unwatched = null, Func<string, IDisposable>? watch = null)
    {
        _unwatched = unwatched;
        _watch = watch ?? Watch;
        _files = [.. files.OfType<string>().Select(Path.GetFullPath)];
        _time = time;
        Arm(); // before the first look, so that nothing falls between
        _last = Fingerprint();
    }

    /// <summary>Returns when the content differs from what it was at the last return (or at construction).</summary>
    public async Task ChangedAsync(CancellationToken stop)
    {
        while (true)
        {
            await EventOrTimeAsync(stop);
            Arm();
            string now = Fingerprint();
            if (now == _last) { continue; }
            await Task.Delay(Settle, _time, stop);
            _last = Fingerprint();
            return;
        }
    }

    public void Dispose()
    {
        foreach (IDisposable watcher in _watchers.Values) { watcher.Dispose(); }
        _watchers.Clear();
    }

    private async Task EventOrTimeAsync(CancellationToken stop)
    {
        using var look = CancellationTokenSource.CreateLinkedTokenSource(stop);
        Task<bool> seen = _events.Reader.WaitToReadAsync(look.Token).AsTask();
        Task timer = Task.Delay(Look, _time, look.Token);
        await Task.WhenAny(seen, timer);
        await look.CancelAsync();
        await Task.WhenAll(seen, timer).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        stop.ThrowIfCancellationRequested();
        _events.Reader.TryRead(out _);
    }

    private void Arm()
    {
        HashSet<string> wanted = [.. _files.SelectMany(FoldersOf)];
        foreach (string gone in _watchers.Keys.Except(wanted).ToArray())
        {
            _watchers[gone].Dispose();
            _watchers.Remove(gone);
        }
        foreach (string folder in wanted.Where(f => !_watchers.ContainsKey(f)))
        {
            try { _watchers[folder] = _watch(folder); }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException) // the regular look stands in
            {
                if (Directory.Exists(folder) && _failed.Add(folder)) { _unwatched?.Invoke(folder, e.Message); }
            }
        }
    }

    private FileSystemWatcher Watch(string folder)
    {
        var watcher = new FileSystemWatcher(folder)
        {
            NotifyFilter = NotifyFilters.FileName | NotifyFilters.DirectoryName | NotifyFilters.LastWrite | NotifyFilters.Attributes,
            InternalBufferSize = 4096,
        };
        watcher.Changed += (_, _) => _events.Writer.TryWrite(true);
        watcher.Created += (_, _) => _events.Writer.TryWrite(true);
        watcher.Deleted += (_, _) => _events.Writer.TryWrite(true);
        watcher.Renamed += (_, _) => _events.Writer.TryWrite(true);
        watcher.Error += (_, _) => _events.Writer.TryWrite(true);
        watcher.EnableRaisingEvents = true;
        return watcher;
    }

    /// <summary>Every folder whose entries decide what <paramref name="file"/> is: that of each symbolic link on the way, and the last; where one does not exist, the nearest above it.</summary>
    internal static IEnumerable<string> FoldersOf(string file)
    {
        HashSet<string> found = [];
        Follow(file, found, depth: 0);
        return found;
    }

    private static void Follow(string path, HashSet<string> found, int depth)
    {
        if (depth > 40) { return; } // as many links as the kernel follows
        string at = "/";
        string[] parts = path.Split('/', StringSplitOptions.RemoveEmptyEntries);
        for (int i = 0; i < parts.Length; i++)
        {
            string next = Path.Combine(at, parts[i]);
            FileSystemInfo entry = Directory.Exists(next) ? new DirectoryInfo(next) : new FileInfo(next);
            if (entry.LinkTarget is { } target)
            {
                found.Add(at);
                Follow(Path.GetFullPath(Path.Combine(at, target, Path.Combine(parts[(i + 1)..]))), found, depth + 1);
                return;
            }
            if (!entry.Exists || i == parts.Length - 1)
            {
                found.Add(at);
                return;
            }
            at = next;
        }
    }

    private string Fingerprint()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (string file in _files)
        {
            byte[] content = [];
            bool there = true;
            try { content = File.ReadAllBytes(file); }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException) { there = false; }
            hash.AppendData([there ? (byte)1 : (byte)0]);
            hash.AppendData(SHA256.HashData(content));
        }
        return Convert.ToHexString(hash.GetHashAndReset());
    }
}
