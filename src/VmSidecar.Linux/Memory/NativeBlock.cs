using System.Buffers;
using System.Collections.Concurrent;
using System.ComponentModel;
using System.Runtime.InteropServices;

namespace VmSidecar.Linux.Memory;

/// <summary>
/// A block of memory straight from the kernel (mmap), for large messages: what is freed is given back at once, whereas the
/// managed heap and its pools would keep the largest message ever seen. One owner, who must free it (no finalizer: a span may outlive the object); touching it after that throws. A few blocks
/// are kept for the next message.
/// </summary>
internal sealed unsafe partial class NativeBlock : MemoryManager<byte>
{
    /// <summary>Bytes of a block.</summary>
    public const int Size = 256 * 1024;

    private const int MostKept = 8; // blocks; what a message that only passes through, or moves to a file while it does, needs
    private const int ReadWrite = 3, PrivateAnonymousPopulated = 0x8022; // PROT_READ|PROT_WRITE; MAP_PRIVATE|MAP_ANONYMOUS|MAP_POPULATE

    private static readonly ConcurrentBag<nint> Kept = [];
    private static int _kept;
    private static int _inUse;

    private nint _address;

    private NativeBlock(nint address) => _address = address;

    /// <summary>Blocks not yet freed, of the whole process.</summary>
    public static int InUse => Volatile.Read(ref _inUse);

    /// <summary>A block with arbitrary content. Throws <see cref="InsufficientMemoryException"/> when the kernel has none.</summary>
    public static NativeBlock Rent()
    {
        if (Kept.TryTake(out nint address)) { Interlocked.Decrement(ref _kept); }
        else
        {
            address = Map(0, Size, ReadWrite, PrivateAnonymousPopulated, -1, 0);
            if (address == -1) { throw new InsufficientMemoryException(new Win32Exception(Marshal.GetLastPInvokeError()).Message); }
        }
        Interlocked.Increment(ref _inUse);
        return new NativeBlock(address);
    }

    public override Span<byte> GetSpan()
    {
        nint address = _address;
        ObjectDisposedException.ThrowIf(address == 0, this);
        return new Span<byte>((void*)address, Size);
    }

    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)Size, nameof(elementIndex));
        ObjectDisposedException.ThrowIf(_address == 0, this);
        return new MemoryHandle((byte*)_address + elementIndex, default, this);
    }

    public override void Unpin() { } // it never moves

    /// <summary>Frees the block; nothing happens the second time.</summary>
    public void Free() => ((IDisposable)this).Dispose();

    protected override void Dispose(bool disposing)
    {
        if (Interlocked.Exchange(ref _address, 0) is not (not 0 and nint address)) { return; }
        Interlocked.Decrement(ref _inUse);
        if (Interlocked.Increment(ref _kept) <= MostKept)
        {
            Kept.Add(address);
            return;
        }
        Interlocked.Decrement(ref _kept);
        _ = Unmap(address, Size); // of a mapping of ours it cannot fail
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint Map(nint address, nint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(nint address, nint length);
}
