using System.Runtime.InteropServices;

namespace VmSidecar.Linux.Processes;

/// <summary>
/// Replaces the program of this process by another in place (execve(2)): process id, children, cgroup, sandbox and the open files that are named stay; all else
/// of the old one is gone. The caller has stopped what it ran.
/// </summary>
internal static unsafe class ProgramImage
{
    private const int Block = 0, Unblock = 1; // SIG_BLOCK, SIG_UNBLOCK
    private const int GetFlags = 1, SetFlags = 2, KeepOpenFlag = 0, CloseFlag = 1; // F_GETFD, F_SETFD, FD_CLOEXEC
    private const int SetSize = 128;
    private static readonly int[] s_handled = [SignalNumber.Hup, SignalNumber.Int, SignalNumber.Usr1, SignalNumber.Term];

    /// <summary>How this process was started, argv[0] included; empty when it cannot be read.</summary>
    public static string[] OwnArguments()
    {
        try { return File.ReadAllText("/proc/self/cmdline").Split('\0')[..^1]; }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return []; }
    }

    /// <summary>
    /// On the thread whose children are to live. Returns errno, and only when the kernel refuses; signals are unblocked again then. Signals that come in
    /// between wait until the new program has unblocked them (<see cref="UnblockSignals"/>): by default they would end it.
    /// </summary>
    /// <param name="path">Absolute path of the executable.</param>
    /// <param name="arguments">With argv[0].</param>
    /// <param name="environment">All of it.</param>
    /// <param name="open">Descriptors that stay open.</param>
    /// <param name="isStopRequested">Asked last; a yes reaches the new program as a TERM.</param>
    public static int Replace(string path, IReadOnlyList<string> arguments, IReadOnlyDictionary<string, string> environment, IReadOnlyCollection<int> open, Func<bool> isStopRequested)
    {
        foreach (int handle in open) { _ = Libc.Fcntl(handle, SetFlags, KeepOpenFlag); }
        byte** argv = Spawner.Strings(arguments);
        byte** envp = Spawner.Strings([.. environment.Select(v => $"{v.Key}={v.Value}")]);
        BlockSignals();
        if (isStopRequested()) { _ = Libc.Raise(SignalNumber.Term); }
        _ = Libc.Execute(path, argv, envp);
        int error = Marshal.GetLastPInvokeError();
        UnblockSignals();
        Spawner.Free(argv);
        Spawner.Free(envp);
        foreach (int handle in open) { CloseOnReplace(handle); }
        return error;
    }

    /// <summary>The signals an agent handles wait, for the calling thread and for the threads and children it starts.</summary>
    internal static void BlockSignals() => Mask(Block);

    /// <summary>The signals an agent handles reach the calling thread again. After handlers for them are there; without effect where none was blocked.</summary>
    public static void UnblockSignals() => Mask(Unblock);

    /// <summary>A descriptor that was handed over is not for children; false when there is none of that number.</summary>
    public static bool CloseOnReplace(int handle) => Libc.Fcntl(handle, GetFlags, 0) >= 0 && Libc.Fcntl(handle, SetFlags, CloseFlag) == 0;

    private static void Mask(int how)
    {
        byte* set = stackalloc byte[SetSize];
        _ = Libc.EmptySet(set);
        foreach (int signal in s_handled) { _ = Libc.AddToSet(set, signal); }
        _ = Libc.SignalMask(how, set, null);
    }
}
