using System.Runtime.InteropServices;

using Microsoft.Win32.SafeHandles;

namespace VmSidecar.Linux.Processes;

/// <summary>
/// One child: started, signalled, reaped. A thread of its own starts it and then waits for it, so the thread that forked
/// lives exactly as long as the child (or the owner's thread starts it, and lives as long as the agent): a parent-death signal,
/// which the kernel binds to that thread, fires when the agent dies and never before. A signal can never reach a stranger who got the process id later: signals and reaping share a lock.
/// </summary>
internal sealed class ChildProcess
{
    private readonly Lock _gate = new(); // guards _reaped; never held around a blocking call
    private readonly TaskCompletionSource<ChildExit> _exited = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _reaped;

    private ChildProcess(SafeFileHandle? output, SafeFileHandle? error) => (Output, Error) = (output, error);

    /// <summary>Process id; also the id of its process group.</summary>
    public int Id { get; private set; }

    /// <summary>Read end of the child's stdout; null for a quiet child. Owned by whoever reads it.</summary>
    public SafeFileHandle? Output { get; }

    /// <summary>Read end of the child's stderr; null for a quiet child. Owned by whoever reads it.</summary>
    public SafeFileHandle? Error { get; }

    /// <summary>Ends when the child is dead and reaped.</summary>
    public Task<ChildExit> Exited => _exited.Task;

    /// <summary>Starts the command. Throws <see cref="ChildStartException"/> when the kernel refuses.</summary>
    /// <param name="command">What to run.</param>
    /// <param name="owner">The thread that forks, for a child that is to outlive the program it was started by; null: one of its own.</param>
    public static async Task<ChildProcess> StartAsync(ChildCommand command, OwnerThread? owner = null)
    {
        (SafeFileHandle? outputRead, SafeFileHandle? outputWrite) = command.Quiet ? (null, null) : Pipes.Create();
        (SafeFileHandle? errorRead, SafeFileHandle? errorWrite) = command.Quiet ? (null, null) : Pipes.Create();
        var child = new ChildProcess(outputRead, errorRead);
        var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var thread = new Thread(() => child.Live(command, outputWrite, errorWrite, started, owner), maxStackSize: 256 * 1024)
        {
            IsBackground = true,
            Name = "child",
        };
        thread.Start();
        try
        {
            await started.Task;
            return child;
        }
        catch
        {
            outputRead?.Dispose();
            errorRead?.Dispose();
            throw;
        }
    }

    /// <summary>A child that the program before this one in this process has started; null when it is none. The handles are taken over in any case.</summary>
    public static unsafe ChildProcess? Adopt(int process, SafeFileHandle? output, SafeFileHandle? error)
    {
        byte* info = stackalloc byte[128];
        if (Libc.WaitId(1, process, info, Libc.WaitExited | Libc.WaitNoReap | Libc.WaitNoHang) != 0)
        {
            output?.Dispose();
            error?.Dispose();
            return null;
        }
        var child = new ChildProcess(output, error) { Id = process };
        new Thread(() => child._exited.SetResult(child.Reap()), maxStackSize: 256 * 1024) { IsBackground = true, Name = "child" }.Start();
        return child;
    }

    /// <summary>Sends a signal; false when the child is already gone. With <paramref name="group"/> its own children get it too.</summary>
    public bool TrySignal(int signal, bool group = false)
    {
        lock (_gate)
        {
            return !_reaped && Libc.Kill(group ? -Id : Id, signal) == 0;
        }
    }

    private void Live(ChildCommand command, SafeFileHandle? outputWrite, SafeFileHandle? errorWrite, TaskCompletionSource started, OwnerThread? owner)
    {
        using (outputWrite)
        using (errorWrite) // our copies of the write ends go with the spawn: the readers then see the end when the child ends
        {
            try
            {
                int Spawn() => Spawner.Spawn(command, Number(outputWrite), Number(errorWrite));
                Id = owner is null ? Spawn() : owner.RunAsync(Spawn).GetAwaiter().GetResult();
            }
            catch (ChildStartException e)
            {
                started.SetException(e);
                return;
            }
        }
        started.SetResult();
        _exited.SetResult(Reap());
    }

    private static int Number(SafeFileHandle? handle) => handle is null ? -1 : (int)handle.DangerousGetHandle();

    private unsafe ChildExit Reap()
    {
        byte* info = stackalloc byte[128]; // siginfo_t; its content is not needed
        while (Libc.WaitId(1, Id, info, Libc.WaitExited | Libc.WaitNoReap) != 0 && Marshal.GetLastPInvokeError() == Libc.InterruptedCall) { }
        lock (_gate)
        {
            int status = 0;
            while (Libc.WaitPid(Id, &status, 0) < 0 && Marshal.GetLastPInvokeError() == Libc.InterruptedCall) { }
            _reaped = true;
            return ChildExit.FromWaitStatus(status);
        }
    }
}
