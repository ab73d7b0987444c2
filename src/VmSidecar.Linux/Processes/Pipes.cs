using System.ComponentModel;
using System.Runtime.InteropServices;

using Microsoft.Win32.SafeHandles;

namespace VmSidecar.Linux.Processes;

/// <summary>
/// Makes pipes for a child's output. Pipes, not sockets: Envoy opens /dev/stdout anew for its access log, which the kernel
/// refuses for a socket (ENXIO) and for a file or terminal of another user (EACCES). A pipe belongs to the user that made it.
/// </summary>
internal static unsafe class Pipes
{
    private const int Capacity = 1024 * 1024; // the largest an unprivileged user may ask for; a burst of log lines fits without stalling the writer

    /// <summary>A new pipe, both ends close-on-exec.</summary>
    public static (SafeFileHandle Read, SafeFileHandle Write) Create()
    {
        int* ends = stackalloc int[2];
        if (Libc.Pipe(ends, Libc.CloseOnExec) != 0) { throw new Win32Exception(Marshal.GetLastPInvokeError()); }
        _ = Libc.Fcntl(ends[1], Libc.SetPipeSize, Capacity); // refused over the user's pipe quota; the default of 64 KiB works too
        return (new SafeFileHandle(ends[0], ownsHandle: true), new SafeFileHandle(ends[1], ownsHandle: true));
    }

    /// <summary>Blocks until one of the two has bytes or has ended, and sets which; false when <paramref name="wake"/> has ended.</summary>
    public static bool Wait(SafeFileHandle? first, SafeFileHandle? second, SafeFileHandle? wake, out bool firstReady, out bool secondReady)
    {
        Libc.PollEntry* entries = stackalloc Libc.PollEntry[3];
        entries[0] = Entry(first);
        entries[1] = Entry(second);
        entries[2] = Entry(wake);
        while (Libc.Poll(entries, 3, -1) < 0 && Marshal.GetLastPInvokeError() == Libc.InterruptedCall) { }
        firstReady = entries[0].Returned != 0;
        secondReady = entries[1].Returned != 0;
        return entries[2].Returned == 0;
    }

    private static Libc.PollEntry Entry(SafeFileHandle? handle) => new() { Handle = handle is null ? -1 : (int)handle.DangerousGetHandle(), Events = Libc.PollIn };

    /// <summary>Reads what is there; 0 at the end or on any error, after which nothing more can come.</summary>
    public static int Read(SafeFileHandle pipe, Span<byte> buffer)
    {
        fixed (byte* start = buffer)
        {
            while (true)
            {
                nint count = Libc.Read(pipe, start, buffer.Length);
                if (count >= 0) { return (int)count; }
                if (Marshal.GetLastPInvokeError() != Libc.InterruptedCall) { return 0; }
            }
        }
    }
}
