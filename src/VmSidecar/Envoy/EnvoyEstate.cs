using Microsoft.Win32.SafeHandles;

using VmSidecar.Linux.Processes;

namespace VmSidecar.Envoy;

/// <summary>A running Envoy that one agent leaves to the next one in the same process. Made by EnvoySupervisor when it leaves; taken by the next one's.</summary>
/// <param name="Process">Who it is: id and time of start.</param>
/// <param name="Output">Read end of its stdout.</param>
/// <param name="Error">Read end of its stderr.</param>
internal sealed record EnvoyEstate(PeerProcess Process, SafeFileHandle Output, SafeFileHandle Error)
{
    /// <summary>Lines that were read in part.</summary>
    public HalfLines Half { get; init; }

    /// <summary>What it said last on stderr.</summary>
    public IReadOnlyList<string> Words { get; init; } = [];

    /// <summary>What it was started from.</summary>
    public EnvoyInputs Inputs { get; init; }

    /// <summary>Its number among hot restarts.</summary>
    public int Epoch { get; init; }

    /// <summary>How many there have been, it included.</summary>
    public int Starts { get; init; }

    /// <summary>When it began.</summary>
    public DateTimeOffset Since { get; init; }

    /// <summary>Version of its executable; null: not known.</summary>
    public string? Version { get; init; }

    /// <summary>It has drained already: its stop is immediate.</summary>
    public bool Drained { get; init; }
}
