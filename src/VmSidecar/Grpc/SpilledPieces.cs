using Microsoft.Win32.SafeHandles;

using VmSidecar.Linux.Memory;

namespace VmSidecar.Grpc;

/// <summary>
/// A large message that is held whole: what has passed moves from memory into a file without a name, a megabyte at a time and beside the one who fills it, who
/// never waits for the disk: while a write takes long the rest stays in memory, and so does what could not be written. Mostly the file is gone before the kernel
/// writes any of it down. One owner, one writer.
/// </summary>
internal sealed class SpilledPieces : IPieces
{
    /// <summary>Bytes that move at once.</summary>
    public const int Chunk = 4 * NativeBlock.Size;

    private const int Behind = 8; // chunks

    private readonly string _folder;
    private readonly int _chunk;
    private PieceList _now; // what is still in memory
    private SafeFileHandle? _file;
    private Task _writing = Task.CompletedTask; // the last write; never faults
    private PieceList? _unwritten;              // what the last write could not take; it stands between the file and _now
    private long _written;                      // bytes that moved into the file, or are about to
    private bool _cannot;
    private bool _disposed;

    /// <summary>Takes what has arrived over. <paramref name="folder"/> need not exist.</summary>
    public SpilledPieces(string folder, PieceList begun, int chunk = Chunk) => (_folder, _now, _chunk) = (folder, begun, chunk);

    /// <summary>Bytes held.</summary>
    public int Length => (int)_written + (_unwritten?.Length ?? 0) + _now.Length;

    /// <summary>Bytes that have left the memory, or are about to.</summary>
    public long Spilled => _written;

    /// <summary>What is still in memory, and where more goes.</summary>
    public PieceList Now => _now;

    public Task Ready => _writing;

    /// <summary>Ends when the disk has caught up: at once unless eight chunks wait in memory. For one who can wait.</summary>
    public Task Caught => _now.Length > Behind * _chunk ? _writing : Task.CompletedTask;

    public IEnumerable<ReadOnlyMemory<byte>> Pieces
    {
        get
        {
            using var buffer = new PieceList();
            Memory<byte> room = buffer.Room();
            for (long at = 0; at < _written;)
            {
                int read = RandomAccess.Read(_file!, room.Span[..(int)Math.Min(room.Length, _written - at)], at);
                if (read == 0) { throw new EndOfStreamException("what was spilled is not all there"); }
                yield return room[..read];
                at += read;
            }
            foreach (ReadOnlyMemory<byte> piece in _unwritten?.Pieces ?? []) { yield return piece; }
            foreach (ReadOnlyMemory<byte> piece in _now.Pieces) { yield return piece; }
        }
    }

    /// <summary>What is in <see cref="Now"/> has passed: it may leave the memory.</summary>
    public void Passed()
    {
        if (_now.Length < _chunk || !_writing.IsCompleted || _cannot || !TryOpen()) { return; }
        PieceList full = _now;
        long at = _written;
        _written += full.Length; // before the write: once done, it has freed the list
        _now = new PieceList();
        _writing = WriteAsync(_file!, full, at);
    }

    public void Dispose()
    {
        if (_disposed) { return; }
        _disposed = true;
        _now.Dispose();
        _file?.Dispose(); // a write under way ends first or fails
        _ = FreeAsync();
    }

    private async Task FreeAsync()
    {
        await _writing;
        _unwritten?.Dispose();
    }

    private async Task WriteAsync(SafeFileHandle file, PieceList full, long at)
    {
        try
        {
            await RandomAccess.WriteAsync(file, [.. full.Pieces], at, CancellationToken.None);
            full.Dispose();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ObjectDisposedException)
        {
            (_cannot, _unwritten, _written) = (true, full, at); // a full disk is no reason to lose a message
        }
    }

    private bool TryOpen()
    {
        if (_file is not null) { return true; }
        try
        {
            Directory.CreateDirectory(_folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            string path = Path.Combine(_folder, $".{Guid.NewGuid():N}.passing");
            _file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None);
            File.Delete(path); // nothing to clean up, whatever happens
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _cannot = true; // memory it is
            return false;
        }
    }
}
