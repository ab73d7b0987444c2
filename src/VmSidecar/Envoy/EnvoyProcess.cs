using VmSidecar.Linux.Processes;

namespace VmSidecar.Envoy;

/// <summary>One running Envoy: its process, what it said last, and the end of its output. Made by EnvoySupervisor: one, or two during a hot restart.</summary>
internal sealed class EnvoyProcess(ChildProcess child, LastWords words, EnvoyOutput output)
{
    private static readonly TimeSpan OutputGrace = TimeSpan.FromSeconds(1); // a grandchild may hold the pipe open for longer than Envoy lives

    /// <summary>Process id.</summary>
    public int Id => child.Id;

    /// <summary>What it was started from.</summary>
    public EnvoyInputs Inputs { get; init; }

    /// <summary>What it wrote to stderr last.</summary>
    public LastWords Words => words;

    /// <summary>What it writes.</summary>
    public EnvoyOutput Output => output;

    /// <summary>Ends when the process is reaped.</summary>
    public Task<ChildExit> Exited => child.Exited;

    /// <summary>Waits until the last line of a dead process has been read, so that it can explain the end.</summary>
    public async Task DrainOutputAsync(TimeProvider time) =>
        await Task.WhenAny(output.Ended, Task.Delay(OutputGrace, time, CancellationToken.None));

    /// <summary>Sends a signal; false when the process is gone.</summary>
    public bool TrySignal(int signal) => child.TrySignal(signal);

    /// <summary>Kills the process and whatever it started.</summary>
    public void Kill()
    {
        child.TrySignal(SignalNumber.Kill, group: true);
        child.TrySignal(SignalNumber.Kill);
    }
}
