using VmSidecar.Lifecycle;

namespace VmSidecar.Iptables;

/// <summary>Held while rules are read and changed, so that two runs at once follow one another. A lock of the kernel on an open file: it ends with the process, however that ends.</summary>
internal sealed class CaptureLock : IDisposable
{
    private static readonly TimeSpan s_poll = TimeSpan.FromMilliseconds(50);
    private readonly FileStream _file;

    private CaptureLock(FileStream file) => _file = file;

    /// <summary>Waits for the other run, at most <paramref name="patience"/>.</summary>
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
            catch (UnauthorizedAccessException e)
            {
                throw new FatalException("iptables", $"{folder} cannot be written", "Run as root", e);
            }
            catch (IOException) when (time.GetElapsedTime(begin) < patience)
            {
                await Task.Delay(s_poll, time, stop).ConfigureAwait(false);
            }
            catch (IOException e)
            {
                throw new FatalException("iptables", $"another run holds {path}", "Wait for it to end, or see who it is with: fuser -v " + path, e);
            }
        }
    }

    public void Dispose() => _file.Dispose();
}
