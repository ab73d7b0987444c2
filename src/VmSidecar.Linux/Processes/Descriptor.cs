using System.Runtime.InteropServices;

using Microsoft.Win32.SafeHandles;

namespace VmSidecar.Linux.Processes;

/// <summary>Further descriptors of what is open.</summary>
internal static class Descriptor
{
    private const int DuplicateCloseOnExec = 1030, GetFlags = 1; // F_DUPFD_CLOEXEC, F_GETFD

    /// <summary>True where this process has one of that number.</summary>
    public static bool IsOpen(int number) => Libc.Fcntl(number, GetFlags, 0) >= 0;

    /// <summary>Another descriptor of the same open file, closed on exec; null when there is none to be had.</summary>
    public static SafeFileHandle? Duplicate(SafeHandle handle)
    {
        bool held = false;
        try
        {
            handle.DangerousAddRef(ref held);
            int copy = Libc.Fcntl((int)handle.DangerousGetHandle(), DuplicateCloseOnExec, 3); // not in the place of a standard stream
            return copy < 0 ? null : new SafeFileHandle(copy, ownsHandle: true);
        }
        catch (ObjectDisposedException) { return null; }
        finally
        {
            if (held) { handle.DangerousRelease(); }
        }
    }
}
