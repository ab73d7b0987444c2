using System.Globalization;

namespace VmSidecar.Commands;

/// <summary>Finds the agents that run on this machine, through /proc.</summary>
internal static class RunningAgents
{
    /// <summary>Process ids of <c>vmsidecar run</c> (or <c>proxy</c>, or <c>pilot-agent proxy</c>), other than this one.</summary>
    public static IEnumerable<int> Find(string proc = "/proc")
    {
        foreach (string folder in Directory.EnumerateDirectories(proc))
        {
            if (int.TryParse(Path.GetFileName(folder), NumberStyles.None, CultureInfo.InvariantCulture, out int pid) && pid != Environment.ProcessId && IsAgent(Arguments(folder)))
            {
                yield return pid;
            }
        }
    }

    /// <summary>True when the process has a handler for the signal (SigCgt of proc(5), one bit per signal from 1).</summary>
    public static bool Catches(int pid, int signal, string proc = "/proc")
    {
        string? line = Lines(Path.Combine(proc, $"{pid}", "status")).FirstOrDefault(l => l.StartsWith("SigCgt:", StringComparison.Ordinal));
        return ulong.TryParse(line?["SigCgt:".Length..].Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out ulong caught) && (caught >> (signal - 1) & 1) == 1;
    }

    private static bool IsAgent(string[] arguments) =>
        arguments is [var program, "run" or "proxy", ..] && Path.GetFileName(program) is "vmsidecar" or "pilot-agent";

    private static string[] Arguments(string process) => Text(Path.Combine(process, "cmdline")).Split('\0', StringSplitOptions.RemoveEmptyEntries);

    private static string[] Lines(string file) => Text(file).Split('\n');

    private static string Text(string file)
    {
        try { return File.ReadAllText(file); }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return ""; } // gone meanwhile
    }
}
