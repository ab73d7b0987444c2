using Microsoft.Win32.SafeHandles;

using VmSidecar.Linux.Memory;

namespace VmSidecar.Grpc;

/// <summary>
/// A large message that is held whole: what has passed moves from memory into a file without a name, a megabyte at a time and beside the one who fills it. Nobody
/// ever waits for the disk: what is on its way is read from memory until it is in the file, while a write takes long the rest stays in memory, and so does what could
/// not be written. Mostly the file is gone before the kernel writes any of it down. One owner, who writes, then reads.
/// </summary>
internal sealed class SpilledPieces : IPieces
{
    /// <summary>Bytes that move at once.</summary>
    public const int Chunk = 4 * NativeBlock.Size;

    private const int Behind = 4; // chunks; as many may be on their way

    private readonly SpillDisk _disk;
    private readonly int _chunk;
    private readonly Lock _gate = new();           // owner and write under way: guards the fields from _file on
    private PieceList _now;                        // what is still in memory
    private Task _writing = Task.CompletedTask;    // the last write; never faults
    private bool _disposed;
    private SafeFileHandle? _file;
    private PieceList? _moving;                    // what the last write takes or could not take; it stands between the file and _now
    private readonly List<PieceList> _moved = [];  // in the file, and yet to be freed: somebody reads them
    private long _written;                         // bytes in the file
    private int _readers;
    private bool _cannot;

    /// <summary>Takes what has arrived over. <paramref name="folder"/> need not exist.</summary>
    public SpilledPieces(string folder, PieceList begun, int chunk = Chunk) : this(new SpillDisk(folder), begun, chunk) { }

    /// <summary>Takes what has arrived over.</summary>
    public SpilledPieces(SpillDisk disk, PieceList begun, int chunk = Chunk) => (_disk, _now, _chunk) = (disk, begun, chunk);

    /// <summary>Bytes held.</summary>
    public int Length
    {
        get { lock (_gate) { return (int)_written + (_moving?.Length ?? 0) + _now.Length; } }
    }

    /// <summary>Bytes that have left the memory.</summary>
    public long Spilled
    {
        get { lock (_gate) { return _written; } }
    }

    /// <summary>What is still in memory, and where more goes.</summary>
    public PieceList Now => _now;

    public Task Ready => _writing;

    /// <summary>Ends when the disk has caught up: at once unless four chunks wait in memory. For one who can wait.</summary>
    public Task Caught => _now.Length > Behind * _chunk ? _writing : Task.CompletedTask;

    public IEnumerable<ReadOnlyMemory<byte>> Pieces
    {
        get
        {
            (SafeFileHandle? file, long written, PieceList? moving) = BeginReading();
            try
            {
                foreach (ReadOnlyMemory<byte> piece in written > 0 ? ReadBack(file!, written) : []) { yield return piece; }
                foreach (ReadOnlyMemory<byte> piece in moving?.Pieces ?? []) { yield return piece; }
                foreach (ReadOnlyMemory<byte> piece in _now.Pieces) { yield return piece; }
            }
            finally { EndReading(); }
        }
    }

    /// <summary>What is in <see cref="Now"/> has passed: it may leave the memory.</summary>
    public void Passed()
    {
        if (_now.Length < _chunk || !_writing.IsCompleted || _cannot || !_disk.TryBegin()) { return; }
        PieceList full = _now;
        lock (_gate) { (_moving, _now) = (full, new PieceList()); }
        _writing = WriteAsync(full);
    }

    public void Dispose()
    {
        if (_disposed) { return; }
        _disposed = true;
        _now.Dispose();
        _ = FreeAsync();
    }

    private async Task FreeAsync()
    {
        await _writing; // the kernel has the memory and the file
        _moving?.Dispose();
        _file?.Dispose();
    }

    private async Task WriteAsync(PieceList full)
    {
        await Task.Yield(); // a disk that hangs holds already the one who makes a file
        try
        {
            SafeFileHandle file = _file ?? _disk.Open();
            lock (_gate) { _file = file; }
            await _disk.Write(file, [.. full.Pieces], _written);
            Land(full);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _cannot = true; // a full disk is no reason to lose a message: what could not be written stays where it is
        }
        finally { _disk.End(); }
    }

    private void Land(PieceList full)
    {
        lock (_gate)
        {
            _written += full.Length;
            _moving = null;
            if (_readers > 0)
            {
                _moved.Add(full);
                return;
            }
        }
        full.Dispose();
    }

    private (SafeFileHandle? File, long Written, PieceList? Moving) BeginReading()
    {
        lock (_gate)
        {
            _readers++;
            return (_file, _written, _moving);
        }
    }

    private void EndReading()
    {
        lock (_gate)
        {
            if (--_readers > 0) { return; }
            foreach (PieceList moved in _moved) { moved.Dispose(); }
            _moved.Clear();
        }
    }

    private static IEnumerable<ReadOnlyMemory<byte>> ReadBack(SafeFileHandle file, long length)
    {
        using var buffer = new PieceList();
        Memory<byte> room = buffer.Room();
        for (long at = 0; at < length;)
        {
            int read = RandomAccess.Read(file, room.Span[..(int)Math.Min(room.Length, length - at)], at);
            if (read == 0) { throw new EndOfStreamException("what was spilled is not all there"); }
            yield return room[..read];
            at += read;
        }
    }
}
