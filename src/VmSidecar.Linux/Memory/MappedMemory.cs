using System.Buffers;
using System.ComponentModel;
using System.Runtime.InteropServices;

namespace VmSidecar.Linux.Memory;

/// <summary>
/// Memory of any length straight from the kernel (mmap), for what is large and lives for a while: on the managed heap it would make the collector stop every
/// thread, and stay with the process when it is done with. All zero at first; pages cost something only when they are touched. One owner, who must free it
/// (no finalizer: a span may outlive the object); touching it through this object after that throws.
/// </summary>
internal sealed unsafe partial class MappedMemory : MemoryManager<byte>
{
    private const int ReadWrite = 3, PrivateAnonymous = 0x22, MayMove = 1; // PROT_READ|PROT_WRITE; MAP_PRIVATE|MAP_ANONYMOUS; MREMAP_MAYMOVE

    private const int Piece = 4 << 20; // bytes given back at a time: some hundred microseconds

    private static long _inUse;

    private nint _address;

    /// <summary>Takes <paramref name="length"/> bytes, at least one. Throws <see cref="InsufficientMemoryException"/> when the kernel has none.</summary>
    public MappedMemory(int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        _address = Map(0, length, ReadWrite, PrivateAnonymous, -1, 0);
        if (_address == -1)
        {
            _address = 0;
            throw Refused();
        }
        Length = length;
        Interlocked.Add(ref _inUse, length);
    }

    /// <summary>Bytes not yet freed, of the whole process; touched or not.</summary>
    public static long InUse => Interlocked.Read(ref _inUse);

    /// <summary>Bytes.</summary>
    public int Length { get; private set; }

    /// <summary>Another length, with the content kept as far as it goes and zero behind it. Spans taken before are invalid.</summary>
    public void Resize(int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        ObjectDisposedException.ThrowIf(_address == 0, this);
        nint moved = Remap(_address, Length, length, MayMove);
        if (moved == -1) { throw Refused(); }
        Interlocked.Add(ref _inUse, length - Length);
        (_address, Length) = (moved, length);
    }

    public override Span<byte> GetSpan()
    {
        nint address = _address;
        ObjectDisposedException.ThrowIf(address == 0, this);
        return new Span<byte>((void*)address, Length);
    }

    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)Length, nameof(elementIndex));
        ObjectDisposedException.ThrowIf(_address == 0, this);
        return new MemoryHandle((byte*)_address + elementIndex, default, this);
    }

    public override void Unpin() { } // it never moves while anybody may use it

    /// <summary>Gives it back to the kernel; nothing happens the second time.</summary>
    public void Free() => ((IDisposable)this).Dispose();

    protected override void Dispose(bool disposing)
    {
        if (Interlocked.Exchange(ref _address, 0) is not (not 0 and nint address)) { return; }
        Interlocked.Add(ref _inUse, -Length);
        for (int rest = Length; rest > 0;) // from its end, in pieces: the kernel lets nobody else run meanwhile on this processor
        {
            int start = (rest - 1) / Piece * Piece;
            _ = Unmap(address + start, rest - start); // of a mapping of ours it cannot fail
            rest = start;
            if (rest > 0) { Thread.Yield(); }
        }
    }

    private static InsufficientMemoryException Refused() => new(new Win32Exception(Marshal.GetLastPInvokeError()).Message);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint Map(nint address, nint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mremap", SetLastError = true)]
    private static partial nint Remap(nint address, nint length, nint newLength, int flags);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(nint address, nint length);
}
