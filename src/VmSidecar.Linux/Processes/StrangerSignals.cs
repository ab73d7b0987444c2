namespace VmSidecar.Linux.Processes;

/// <summary>Signals to processes that are not our children. The caller has just looked up who the process is: its id can be reused at any time.</summary>
internal static class StrangerSignals
{
    /// <summary>False when it is gone or not ours to signal.</summary>
    public static bool Send(int process, int signal) => process > 1 && Libc.Kill(process, signal) == 0;
}
