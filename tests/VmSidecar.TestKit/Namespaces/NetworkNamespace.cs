using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using VmSidecar.Linux.Processes;

namespace VmSidecar.TestKit.Namespaces;

/// <summary>
/// A network namespace with a unique name, removed on dispose, with everything in it. Commands run in it through <see cref="Commands"/>; sockets are made
/// in it, as any user, through <see cref="As{T}"/>, and keep belonging to it. Needs root: see <see cref="IsPossible"/>.
/// </summary>
internal sealed partial class NetworkNamespace : IAsyncDisposable
{
    private const int NetworkFlag = 0x40000000; // CLONE_NEWNET
    private static readonly CommandRunner s_host = new(TimeSpan.FromSeconds(120), TimeProvider.System);
    private static int s_count;

    private static readonly ConcurrentDictionary<string, bool> s_alive = new();
    private static readonly PosixSignalRegistration[] s_signals = [.. new[] { PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP }.Select(s => PosixSignalRegistration.Create(s, _ => RemoveAll()))];

    private NetworkNamespace(string name)
    {
        Name = name;
        s_alive[name] = s_signals.Length > 0;
    }

    public string Name { get; }

    /// <summary>Runs programs inside.</summary>
    public ICommandRunner Commands => new Inside(this);

    /// <summary>Root, and a kernel that lets us.</summary>
    public static bool IsPossible => geteuid() == 0 && CommandRunner.Find("ip") is not null;

    /// <summary>A namespace with its loopback up. <paramref name="prefix"/> says whose it is.</summary>
    public static async Task<NetworkNamespace> CreateAsync(string prefix)
    {
        await SweepAsync(prefix);
        var made = new NetworkNamespace($"{prefix}{Environment.ProcessId}-{Interlocked.Increment(ref s_count)}");
        await HostAsync($"ip netns add {made.Name}");
        await made.RunAsync("ip link set lo up");
        return made;
    }

    /// <summary>A veth pair between two namespaces; each end has an address.</summary>
    public static async Task ConnectAsync(NetworkNamespace one, string oneDevice, string oneAddress, NetworkNamespace other, string otherDevice, string otherAddress)
    {
        await one.RunAsync($"ip link add {oneDevice} type veth peer name {otherDevice} netns {other.Name}");
        await one.RunAsync($"ip addr add {oneAddress} dev {oneDevice}{(oneAddress.Contains(':', StringComparison.Ordinal) ? " nodad" : "")}");
        await other.RunAsync($"ip addr add {otherAddress} dev {otherDevice}{(otherAddress.Contains(':', StringComparison.Ordinal) ? " nodad" : "")}");
        await one.RunAsync($"ip link set {oneDevice} up");
        await other.RunAsync($"ip link set {otherDevice} up");
    }

    /// <summary>Runs a command inside and returns its output; throws when it fails.</summary>
    public async Task<string> RunAsync(string command, string input = "")
    {
        string[] words = command.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        CommandResult done = await Commands.RunAsync(words[0], words[1..], input, CancellationToken.None);
        return done.Succeeded ? done.Output : throw new InvalidOperationException($"{command}: exit {done.ExitCode}: {done.Error}");
    }

    /// <summary>Runs <paramref name="act"/> on a thread of its own in this namespace with the given file system ids: the credentials a new socket gets.</summary>
    public T As<T>(uint uid, uint gid, Func<T> act)
    {
        T? result = default;
        Exception? failure = null;
        var thread = new Thread(() =>
        {
            try
            {
                Enter();
                _ = setfsgid(gid);
                _ = setfsuid(uid);
                result = act();
            }
            catch (Exception e) // handed to the caller's thread below
            {
                failure = e;
            }
        });
        thread.Start();
        thread.Join();
        return failure is null ? result! : throw new InvalidOperationException($"in {Name}: {failure.Message}", failure);
    }

    public async ValueTask DisposeAsync()
    {
        s_alive.TryRemove(Name, out _);
        await s_host.RunAsync("ip", ["netns", "del", Name], "", CancellationToken.None);
    }

    /// <summary>On Ctrl-C and the like, before the process ends as it would have: no namespace outlives its run.</summary>
    private static void RemoveAll()
    {
        foreach (string name in s_alive.Keys) { s_host.RunAsync("ip", ["netns", "del", name], "", CancellationToken.None).GetAwaiter().GetResult(); }
    }

    /// <summary>Removes what a killed run of the same tests left: its process id is in the name.</summary>
    private static async Task SweepAsync(string prefix)
    {
        CommandResult listed = await s_host.RunAsync("ip", ["netns", "list"], "", CancellationToken.None);
        foreach (string name in listed.Output.Split('\n').Select(l => l.Split(' ')[0]).Where(n => n.StartsWith(prefix, StringComparison.Ordinal)))
        {
            string owner = name[prefix.Length..].Split('-')[0];
            if (owner.Length > 0 && owner.All(char.IsAsciiDigit) && !Directory.Exists($"/proc/{owner}")) { await s_host.RunAsync("ip", ["netns", "del", name], "", CancellationToken.None); }
        }
    }

    private static async Task HostAsync(string command)
    {
        string[] words = command.Split(' ');
        CommandResult done = await s_host.RunAsync(words[0], words[1..], "", CancellationToken.None);
        if (!done.Succeeded) { throw new InvalidOperationException($"{command}: {done.Error}"); }
    }

    private void Enter()
    {
        using Microsoft.Win32.SafeHandles.SafeFileHandle handle = File.OpenHandle($"/run/netns/{Name}");
        if (setns((int)handle.DangerousGetHandle(), NetworkFlag) != 0) { throw new InvalidOperationException($"setns: errno {Marshal.GetLastPInvokeError()}"); }
    }

#pragma warning disable SYSLIB1054, CA5392 // three calls of a test kit; no unsafe code in this project
    [DllImport("libc", SetLastError = true)]
    private static extern int setns(int fd, int type);

    [DllImport("libc")]
    private static extern int setfsuid(uint uid);

    [DllImport("libc")]
    private static extern int setfsgid(uint gid);

    [DllImport("libc")]
    private static extern uint geteuid();
#pragma warning restore SYSLIB1054, CA5392

    private sealed class Inside(NetworkNamespace owner) : ICommandRunner
    {
        public Task<CommandResult> RunAsync(string program, IReadOnlyList<string> arguments, string input, CancellationToken stop) =>
            s_host.RunAsync("ip", ["netns", "exec", owner.Name, program, .. arguments], input, stop);
    }
}
