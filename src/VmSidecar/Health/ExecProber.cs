using System.Collections.Immutable;

using VmSidecar.Linux.Processes;

namespace VmSidecar.Health;

/// <summary>exec: a command without a shell, in the agent's environment; healthy when it exits 0 in time. Its output is thrown away.</summary>
internal sealed class ExecProber(ImmutableArray<string> command, TimeSpan timeout, string searchPath, TimeProvider time) : IProber
{
    public async Task<string?> ProbeAsync(CancellationToken stop)
    {
        if (Locate(command[0]) is not { } file) { return $"exec: \"{command[0]}\": executable file not found in $PATH"; }
        ChildProcess child;
        try
        {
            child = await ChildProcess.StartAsync(new ChildCommand(file, command[1..], ChildEnvironment.With([]), Quiet: true));
        }
        catch (ChildStartException e)
        {
            return $"fork/exec {e.Message}";
        }
        return await FinishAsync(child, stop);
    }

    private async Task<string?> FinishAsync(ChildProcess child, CancellationToken stop)
    {
        Task late = Task.Delay(timeout, time, stop);
        bool inTime = await Task.WhenAny(child.Exited, late) == child.Exited;
        if (!inTime) { child.TrySignal(SignalNumber.Kill, group: true); }
        ChildExit exit = await child.Exited;
        stop.ThrowIfCancellationRequested();
        if (!inTime) { return $"command timeout exceeded: {exit}"; }
        return exit.IsNormal ? null : exit.ToString();
    }

    private string? Locate(string name) =>
        name.Contains('/', StringComparison.Ordinal)
            ? File.Exists(name) ? Path.GetFullPath(name) : null
            : searchPath.Split(':', StringSplitOptions.RemoveEmptyEntries).Select(folder => Path.Combine(folder, name)).FirstOrDefault(File.Exists);
}
