using VmSidecar.Lifecycle;

namespace VmSidecar.Iptables;

/// <summary>Held while rules are read and changed, so that two runs at once follow one another. A lock of the kernel on an open file: it ends with the process, however that ends.</summary>
internal sealed class CaptureLock : IDisposable
{
    private const int InUse = 11; // EWOULDBLOCK of flock(2), as .NET reports a file that another process holds
    private static readonly TimeSpan s_poll = TimeSpan.FromMilliseconds(50);
    private readonly FileStream _file;

    private CaptureLock(FileStream file) => _file = file;

    /// <summary>Waits for the other run, at most <paramref name="patience"/>.</summary>
    /// <exception cref="IOException">The folder takes no file: the disk is full or read-only. Waiting would not help.</exception>
    /// <exception cref="UnauthorizedAccessException">It takes none from this user, or there is no file by that name but something else.</exception>
    /// <exception cref="FatalException">Another run holds it for longer.</exception>
    public static async Task<CaptureLock> TakeAsync(string folder, TimeSpan patience, TimeProvider time, CancellationToken stop)
    {
        string path = Path.Combine(folder, "capture.lock");
        long begin = time.GetTimestamp();
        while (true)
        {
            try
            {
                Directory.CreateDirectory(folder);
                return new(new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None));
            }
            catch (IOException e) when (e.HResult == InUse && time.GetElapsedTime(begin) < patience)
            {
                await Task.Delay(s_poll, time, stop).ConfigureAwait(false);
            }
            catch (IOException e) when (e.HResult == InUse)
            {
                throw new FatalException("iptables", $"another run holds {path}", "Wait for it to end, or see who it is with: fuser -v " + path, e);
            }
        }
    }

    public void Dispose() => _file.Dispose();
}
