using System.Security.Cryptography;

namespace VmSidecar.Linux.Files;

/// <summary>Replaces a file as one step: a reader, or the next start after a power cut, sees the whole old content or the whole new one. Stages: create beside → write → fsync → rename → fsync the folder.</summary>
internal static class AtomicFile
{
    private const int Gathered = 64 * 1024; // bytes of small pieces that are written together: every write takes a turn of the thread pool

    /// <summary>
    /// Writes <paramref name="bytes"/> to <paramref name="path"/> with exactly <paramref name="mode"/>, whatever the umask.
    /// The content is never readable under a wider mode, not even for a moment. The folder must exist.
    /// A symbolic link at <paramref name="path"/> is replaced, not followed.
    /// </summary>
    public static Task WriteAsync(string path, ReadOnlyMemory<byte> bytes, UnixFileMode mode, CancellationToken cancel) => ReplaceAsync(path, [bytes], 0, mode, cancel);

    /// <summary>The same with the content in pieces, written one after the other.</summary>
    public static Task WriteAsync(string path, IEnumerable<ReadOnlyMemory<byte>> pieces, UnixFileMode mode, CancellationToken cancel) => ReplaceAsync(path, pieces, Gathered, mode, cancel);

    private static async Task ReplaceAsync(string path, IEnumerable<ReadOnlyMemory<byte>> pieces, int gathered, UnixFileMode mode, CancellationToken cancel)
    {
        string full = Path.GetFullPath(path);
        string folder = Path.GetDirectoryName(full)!;
        string temporary = Path.Combine(folder, $".{Path.GetFileName(full)}.{RandomNumberGenerator.GetHexString(8, lowercase: true)}.tmp");
        try
        {
            await WriteTemporaryAsync(temporary, pieces, gathered, mode, cancel);
            cancel.ThrowIfCancellationRequested(); // the disk may have taken long
            File.Move(temporary, full, overwrite: true);
        }
        catch
        {
            File.Delete(temporary); // a missing file is no error
            throw;
        }
        FolderSync.Flush(folder);
    }

    private static async Task WriteTemporaryAsync(string temporary, IEnumerable<ReadOnlyMemory<byte>> pieces, int gathered, UnixFileMode mode, CancellationToken cancel)
    {
        var options = new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.Write,
            Share = FileShare.None,
            BufferSize = gathered,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        };
        await using var file = new FileStream(temporary, options);
        foreach (ReadOnlyMemory<byte> piece in pieces) { await file.WriteAsync(piece, cancel); }
        File.SetUnixFileMode(file.SafeFileHandle, mode); // the umask had its say at create; this is exact
        file.Flush(flushToDisk: true); // before the rename, or a crash can leave an empty file under the final name
    }
}
