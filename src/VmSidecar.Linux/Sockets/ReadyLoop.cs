using System.ComponentModel;
using System.Runtime.InteropServices;

namespace VmSidecar.Linux.Sockets;

/// <summary>
/// One thread that sleeps until any of its sockets has something to read, then lets each read once in turn (epoll, level-triggered: who has more is
/// told again, and nobody starves). Idle costs nothing. Adding, removing and stopping may be done from any thread.
/// </summary>
internal sealed unsafe class ReadyLoop : IDisposable
{
    private const int MaxEvents = 64;
    // struct epoll_event is packed on x86-64 only
    private static readonly int s_dataAt = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 4 : 8;
    private static readonly int s_entrySize = s_dataAt + sizeof(ulong);

    [ThreadStatic]
    private static ReadyLoop? t_current;

    private readonly Lock _gate = new();
    private readonly int _epoll;
    private readonly int _wake;
    private readonly Dictionary<int, IReadable> _readers = [];
    private volatile bool _stopped;

    private ReadyLoop(int epoll, int wake)
    {
        _epoll = epoll;
        _wake = wake;
    }

    /// <summary>True on the thread that runs this loop.</summary>
    public bool IsCurrent => t_current == this;

    /// <summary>Called on the loop's thread when all that were ready have read once: the place to send what was collected. Set before <see cref="Run"/>.</summary>
    public Action RoundEnded { get; set; } = () => { };

    /// <summary>Null where the kernel or a sandbox does not allow it.</summary>
    public static ReadyLoop? TryCreate()
    {
        int epoll = SocketCalls.EpollCreate(SocketCalls.CloseOnExec);
        if (epoll < 0) { return null; }
        int wake = SocketCalls.EventHandle(0, SocketCalls.CloseOnExec | SocketCalls.NonBlocking);
        if (wake >= 0 && Control(epoll, SocketCalls.EpollAdd, wake) == 0) { return new ReadyLoop(epoll, wake); }
        if (wake >= 0) { _ = SocketCalls.Close(wake); }
        _ = SocketCalls.Close(epoll);
        return null;
    }

    /// <summary>Begins to watch a socket. Its owner removes it before closing it. Throws Win32Exception when the kernel has no memory for it.</summary>
    public void Add(SafeHandle socket, IReadable reader)
    {
        int handle = (int)socket.DangerousGetHandle();
        lock (_gate) { _readers[handle] = reader; }
        if (Control(_epoll, SocketCalls.EpollAdd, handle) != 0) { throw new Win32Exception(Marshal.GetLastPInvokeError()); }
    }

    /// <summary>Stops watching; a call of <see cref="IReadable.Ready"/> may still be under way.</summary>
    public void Remove(SafeHandle socket)
    {
        int handle = (int)socket.DangerousGetHandle();
        lock (_gate) { _readers.Remove(handle); }
        _ = Control(_epoll, SocketCalls.EpollRemove, handle);
    }

    /// <summary>Waits and serves until <see cref="Stop"/>. Called by one thread, once.</summary>
    public void Run()
    {
        t_current = this;
        byte* entries = stackalloc byte[MaxEvents * s_entrySize];
        while (!_stopped)
        {
            int count = SocketCalls.EpollWait(_epoll, entries, MaxEvents, -1);
            if (count < 0 && Marshal.GetLastPInvokeError() != SocketCalls.Interrupted) { throw new Win32Exception(Marshal.GetLastPInvokeError()); }
            for (int i = 0; i < count; i++)
            {
                int handle = *(int*)(entries + i * s_entrySize + s_dataAt);
                if (handle == _wake) { ulong value; _ = SocketCalls.Read(_wake, &value, sizeof(ulong)); continue; }
                Find(handle)?.Ready();
            }
            RoundEnded();
        }
    }

    /// <summary>Lets <see cref="Run"/> return soon.</summary>
    public void Stop()
    {
        _stopped = true;
        ulong one = 1;
        _ = SocketCalls.Write(_wake, &one, sizeof(ulong));
    }

    /// <summary>After <see cref="Run"/> has returned, or when it never ran.</summary>
    public void Dispose()
    {
        _ = SocketCalls.Close(_wake);
        _ = SocketCalls.Close(_epoll);
    }

    private IReadable? Find(int handle)
    {
        lock (_gate) { return _readers.GetValueOrDefault(handle); } // few loops, few changes: never contended
    }

    private static int Control(int epoll, int operation, int handle)
    {
        byte* entry = stackalloc byte[s_entrySize];
        *(uint*)entry = SocketCalls.EpollIn;
        *(ulong*)(entry + s_dataAt) = (uint)handle;
        return SocketCalls.EpollControl(epoll, operation, handle, entry);
    }
}
