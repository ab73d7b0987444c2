using System.CommandLine;

using VmSidecar.Linux.Processes;

namespace VmSidecar.Commands;

/// <summary><c>log reopen</c>: tells the running agents of this machine to open their log files again (SIGUSR1), for logrotate. Needs no systemd of a certain age. Exit 0, also when none runs.</summary>
internal static class LogCommand
{
    public static Command Create(Cli cli)
    {
        var proc = new Option<string>("--proc") { Hidden = true, DefaultValueFactory = _ => "/proc" };
        var reopen = new Command("reopen", "Open the log file again, after a rotation") { proc };
        reopen.SetAction(parsed => Reopen(cli, parsed.GetValue(proc)!));
        return new Command("log", "The log of the running agent") { reopen };
    }

    private static int Reopen(Cli cli, string proc)
    {
        int[] agents = [.. RunningAgents.Find(proc).Where(pid => RunningAgents.Catches(pid, SignalNumber.Usr1, proc))]; // one that still starts has no file open yet, and would die of the signal
        int failed = agents.Count(pid => !StrangerSignals.Send(pid, SignalNumber.Usr1));
        if (failed > 0) { cli.Error.WriteLine($"{failed} of {agents.Length} agents could not be told; run this as root or istio-proxy"); }
        return failed == 0 ? 0 : 1;
    }
}
