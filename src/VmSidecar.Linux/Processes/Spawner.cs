using System.Runtime.InteropServices;
using System.Text;

namespace VmSidecar.Linux.Processes;

/// <summary>
/// One posix_spawn: own process group (a Ctrl-C at the terminal is for the agent, which drains first), all signals at
/// their default and unblocked (the runtime ignores SIGPIPE, children would inherit that), /dev/null as stdin, two pipes
/// as stdout and stderr (or /dev/null). Every other handle of the runtime is close-on-exec.
/// </summary>
internal static unsafe class Spawner
{
    private const int AttributesSize = 512, ActionsSize = 256, SetSize = 128; // glibc: 336, 80, 128 bytes; musl is smaller
    private const short SetGroup = 2, SetDefaultSignals = 4, SetMask = 8; // POSIX_SPAWN_SETPGROUP, SETSIGDEF, SETSIGMASK

    /// <summary>Starts the command and returns its process id. The two handles become its output; -1 means /dev/null.</summary>
    public static int Spawn(ChildCommand command, int outputEnd, int errorEnd)
    {
        byte* attributes = stackalloc byte[AttributesSize], actions = stackalloc byte[ActionsSize];
        Check(Libc.AttributesInit(attributes));
        Check(Libc.ActionsInit(actions));
        byte** arguments = Strings([command.File, .. command.Arguments]);
        byte** environment = Strings([.. command.Environment.Select(v => $"{v.Key}={v.Value}")]);
        try
        {
            Prepare(attributes, actions, outputEnd, errorEnd);
            int process;
            int error = Libc.Spawn(&process, command.File, actions, attributes, arguments, environment);
            return error == 0 ? process : throw new ChildStartException(command.File, error);
        }
        finally
        {
            Free(arguments);
            Free(environment);
            _ = Libc.AttributesDestroy(attributes);
            _ = Libc.ActionsDestroy(actions);
        }
    }

    private static void Prepare(byte* attributes, byte* actions, int outputEnd, int errorEnd)
    {
        byte* signals = stackalloc byte[SetSize];
        Check(Libc.FillSet(signals));
        Check(Libc.AttributesDefaultSignals(attributes, signals));
        Check(Libc.EmptySet(signals));
        Check(Libc.AttributesMask(attributes, signals));
        Check(Libc.AttributesGroup(attributes, 0));
        Check(Libc.AttributesFlags(attributes, SetGroup | SetDefaultSignals | SetMask));
        Check(Libc.ActionsOpen(actions, 0, "/dev/null", 0, 0));
        Connect(actions, outputEnd, 1);
        Connect(actions, errorEnd, 2);
    }

    private static void Connect(byte* actions, int ours, int theirs) => Check(ours < 0
        ? Libc.ActionsOpen(actions, theirs, "/dev/null", 1, 0) // O_WRONLY
        : Libc.ActionsDuplicate(actions, ours, theirs));

    /// <summary>These calls fail for want of memory only.</summary>
    private static void Check(int error)
    {
        if (error != 0) { throw new ChildStartException("posix_spawn", error); }
    }

    /// <summary>A null-terminated list of C strings; <see cref="Free"/> it.</summary>
    public static byte** Strings(IReadOnlyList<string> values)
    {
        var list = (byte**)NativeMemory.AllocZeroed((nuint)(values.Count + 1), (nuint)sizeof(byte*));
        for (int i = 0; i < values.Count; i++)
        {
            int length = Encoding.UTF8.GetByteCount(values[i]);
            list[i] = (byte*)NativeMemory.AllocZeroed((nuint)length + 1);
            Encoding.UTF8.GetBytes(values[i], new Span<byte>(list[i], length));
        }
        return list;
    }

    /// <summary>Frees what <see cref="Strings"/> has made.</summary>
    public static void Free(byte** list)
    {
        for (byte** entry = list; *entry != null; entry++) { NativeMemory.Free(*entry); }
        NativeMemory.Free(list);
    }
}
