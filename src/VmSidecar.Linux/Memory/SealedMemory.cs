using System.ComponentModel;
using System.Runtime.InteropServices;

using Microsoft.Win32.SafeHandles;

using VmSidecar.Linux.Processes;

namespace VmSidecar.Linux.Memory;

/// <summary>
/// Bytes in a file without a name that nobody can change any more (memfd_create(2), sealed): for a program that takes this one's place. They never touch a disk's
/// file system, and are gone with the last descriptor.
/// </summary>
internal static unsafe partial class SealedMemory
{
    private const uint CloseOnExec = 1, AllowSealing = 2, NeverRun = 8; // MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_NOEXEC_SEAL
    private const int AddSeals = 1033, GetSeals = 1034, AllSeals = 15; // F_ADD_SEALS, F_GET_SEALS; SEAL, SHRINK, GROW, WRITE
    private const int Forbidden = 13; // EACCES
    private const long MaxLength = 16 * 1024 * 1024;

    /// <summary>A new one. Throws <see cref="Win32Exception"/> where the kernel has none (before 3.17) or memory is short.</summary>
    public static SafeFileHandle Create(string name, ReadOnlySpan<byte> content)
    {
        int number = Make(name, CloseOnExec | AllowSealing);
        if (number < 0 && Marshal.GetLastPInvokeError() == Forbidden) { number = Make(name, CloseOnExec | NeverRun); } // vm.memfd_noexec=2 demands it in Linux 6.3 to 6.5, and older ones do not know it
        if (number < 0) { throw new Win32Exception(Marshal.GetLastPInvokeError()); }
        var handle = new SafeFileHandle(number, ownsHandle: true);
        try
        {
            RandomAccess.Write(handle, content, 0);
            if (Libc.Fcntl(number, AddSeals, AllSeals) != 0) { throw new Win32Exception(Marshal.GetLastPInvokeError()); }
            return handle;
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>The content behind a descriptor, which is closed; null when it is none of these.</summary>
    public static byte[]? Take(int number)
    {
        if (Libc.Fcntl(number, GetSeals, 0) is not (>= 0 and var seals) || (seals & AllSeals) != AllSeals) { return null; } // with vm.memfd_noexec the kernel adds one of its own
        using var handle = new SafeFileHandle(number, ownsHandle: true);
        if (RandomAccess.GetLength(handle) is not (> 0 and <= MaxLength and var length)) { return null; }
        byte[] content = new byte[length];
        return RandomAccess.Read(handle, content, 0) == length ? content : null;
    }

    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Make(string name, uint flags);
}
