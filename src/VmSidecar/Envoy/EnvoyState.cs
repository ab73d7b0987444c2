namespace VmSidecar.Envoy;

/// <summary>Where Envoy is in its life.</summary>
internal enum EnvoyPhase
{
    /// <summary>Not started yet.</summary>
    Idle,

    /// <summary>There is no executable, or the kernel refuses to run it.</summary>
    Missing,

    /// <summary>The process runs.</summary>
    Running,

    /// <summary>It ended; the next start waits its turn.</summary>
    BackingOff,

    /// <summary>It runs and closes its connections.</summary>
    Draining,

    /// <summary>It ended and stays so.</summary>
    Stopped,
}

/// <summary>What is known of Envoy. Written by EnvoySupervisor; read by readiness, health, status and whoever must know whether traffic can flow.</summary>
/// <param name="Phase">Where it is.</param>
/// <param name="ProcessId">0 when no process runs.</param>
/// <param name="Starts">How many processes there have been: a latched observation made of one process says nothing about the next.</param>
/// <param name="Since">When the phase began.</param>
/// <param name="LastExit">How the last process ended, or why there is none; null before that.</param>
internal sealed record EnvoyState(EnvoyPhase Phase, int ProcessId, int Starts, DateTimeOffset Since, string? LastExit)
{
    /// <summary>Version of the executable last started; null where unknown.</summary>
    public string? Version { get; init; }

    /// <summary>True while a process runs, draining or not.</summary>
    public bool HasProcess => Phase is EnvoyPhase.Running or EnvoyPhase.Draining;
}
