using Microsoft.Win32.SafeHandles;

namespace VmSidecar.Grpc;

/// <summary>
/// The folder that large messages move to (<see cref="SpilledPieces"/>), and how many writes it has been given: one that hangs gets a few and no more, as each
/// holds a thread and its bytes until the kernel answers. Shared by all messages of a relay; any thread.
/// </summary>
/// <param name="folder">Need not exist.</param>
internal sealed class SpillDisk(string folder)
{
    private const int Most = 4; // writes under way; one per message, and few messages are under way together

    private int _underWay;

    /// <summary>Writes pieces at an offset, bytes; throws <see cref="IOException"/> where the disk does not take them.</summary>
    public Func<SafeFileHandle, IReadOnlyList<ReadOnlyMemory<byte>>, long, ValueTask> Write { get; init; } =
        (file, pieces, at) => RandomAccess.WriteAsync(file, pieces, at, CancellationToken.None);

    /// <summary>A write may begin; <see cref="End"/> follows it. False while as many are under way as may be.</summary>
    public bool TryBegin()
    {
        if (Interlocked.Increment(ref _underWay) <= Most) { return true; }
        End();
        return false;
    }

    /// <summary>A write is over.</summary>
    public void End() => Interlocked.Decrement(ref _underWay);

    /// <summary>A new file without a name: nothing to clean up, whatever happens. May block as long as the disk does; throws <see cref="IOException"/> or <see cref="UnauthorizedAccessException"/>.</summary>
    public SafeFileHandle Open()
    {
        Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        string path = Path.Combine(folder, $".{Guid.NewGuid():N}.passing");
        SafeFileHandle file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None);
        try { File.Delete(path); }
        catch
        {
            file.Dispose();
            throw;
        }
        return file;
    }
}
