using System.Runtime.InteropServices;
using VmSidecar.Iptables;
using VmSidecar.Linux.Processes;
using VmSidecar.TestKit;

namespace VmSidecar.Tests.Iptables;

/// <summary>
/// The real executable in a lab's VM, with stand-ins before the tools that change the host: they count, and at the chosen call send SIGKILL to the agent
/// before, while or after the real tool runs. The stand-ins are in a mount namespace of that one process; nothing of the host changes.
/// </summary>
internal sealed class RealAgent
{
    private const string StandIn = """
        #!/bin/sh
        # Read-only calls go through. The others take a lock that lasts as long as the real tool, also where that outlives the agent.
        PATH=/usr/sbin:/usr/bin:/sbin:/bin
        tool=$(basename "$0")
        case "$tool $*" in
          *-restore*|"nft -f"*|*" add "*|*" replace "*|*" del "*) ;;
          *) exec "$tool" "$@" ;;
        esac
        exec 9>FOLDER/lock
        flock 9
        echo "$tool $*" >> FOLDER/calls
        read number moment < FOLDER/plan
        [ "$(wc -l < FOLDER/calls)" = "$number" ] || exec "$tool" "$@"
        case "$moment" in
          before) kill -KILL $PPID; exit 1 ;;
          while) kill -KILL $PPID; exec "$tool" "$@" ;;
          after) "$tool" "$@"; kill -KILL $PPID ;;
        esac
        """;

    private const int Killed = 128 + 9;
    private static readonly string[] s_tools = ["iptables-nft-restore", "ip6tables-nft-restore", "iptables-legacy-restore", "ip6tables-legacy-restore", "nft", "ip"];
    private readonly CaptureLab _lab;
    private readonly string _folder;

    public RealAgent(CaptureLab lab)
    {
        (_lab, _folder) = (lab, Path.Combine(lab.State, "stand-ins"));
        Directory.CreateDirectory(Path.Combine(_folder, "bin"));
        Directory.CreateDirectory(Path.Combine(lab.State, "etc"));
        File.WriteAllText(Path.Combine(lab.State, "etc/resolv.conf"), "nameserver 127.0.0.53\n");
        foreach (string tool in s_tools)
        {
            string path = Path.Combine(_folder, "bin", tool);
            File.WriteAllText(path, StandIn.Replace("FOLDER", _folder, StringComparison.Ordinal));
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    /// <summary>In process, with the state folder of the executable.</summary>
    public IptablesRunner Runner => new(_lab.Vm.Commands, Path.Combine(_lab.State, "run/vmsidecar"), TimeProvider.System) { Kernel = _lab.Runner().Kernel };

    /// <summary>Runs to the end; returns the calls that changed the host.</summary>
    public async Task<string[]> RunAsync(params string[] arguments)
    {
        CommandResult done = await StartAsync("0 never", arguments);
        return done.Succeeded ? await File.ReadAllLinesAsync(Path.Combine(_folder, "calls")) : throw new InvalidOperationException($"exit {done.ExitCode}: {done.Output}{done.Error}");
    }

    /// <summary>Runs to the end, however that is.</summary>
    public Task<CommandResult> SayAsync(params string[] arguments) => StartAsync("0 never", arguments);

    /// <summary>Runs until the n-th such call, and returns when also the tool has ended.</summary>
    public async Task KillAsync(int call, string moment, params string[] arguments)
    {
        CommandResult done = await StartAsync($"{call} {moment}", arguments);
        if (done.ExitCode != Killed) { throw new InvalidOperationException($"not killed: exit {done.ExitCode}: {done.Output}{done.Error}"); }
        await _lab.Vm.RunAsync($"flock {_folder}/lock true");
    }

    private async Task<CommandResult> StartAsync(string plan, string[] arguments)
    {
        await File.WriteAllTextAsync(Path.Combine(_folder, "calls"), "");
        await File.WriteAllTextAsync(Path.Combine(_folder, "plan"), plan + "\n");
        string dotnet = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "../../../dotnet"));
        string agent = Path.Combine(AppContext.BaseDirectory, "vmsidecar.dll");
        return await _lab.Vm.Commands.RunAsync("sh",
            ["-c", $"mount --bind {_folder}/bin /usr/local/sbin && exec \"$@\"", "sh", dotnet, "exec", agent, "iptables", .. arguments, "--root", _lab.State], "", CancellationToken.None)
            .WaitAsync(Test.Deadline);
    }
}
