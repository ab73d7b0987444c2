namespace VmSidecar.Envoy;

/// <summary>One rendered start of Envoy: the executable, its arguments and what it finds in its environment besides the agent's.</summary>
internal sealed record EnvoyCommand(string Binary, IReadOnlyList<string> Arguments, IReadOnlyList<KeyValuePair<string, string>> Environment)
{
    /// <summary>What the executable says of itself; null when it was not asked.</summary>
    public string? Version { get; init; }

    /// <summary>What it is made from.</summary>
    public EnvoyInputs Inputs { get; init; }
}

/// <summary>Writes the bootstrap file and says how to start Envoy on it. Called before each start, so that a restart takes what has changed.</summary>
internal interface IEnvoyRenderer
{
    /// <summary>The command, or null and the reason when Envoy cannot be started now (no executable, unwritable folder); time may mend it.</summary>
    /// <param name="stop">Gives up.</param>
    /// <param name="epoch">0: a fresh start; else the number of the hot restart that takes over from the Envoy before it.</param>
    Task<(EnvoyCommand? Command, string? Problem)> RenderAsync(CancellationToken stop, int epoch = 0);

    /// <summary>What a start now would be made from.</summary>
    Task<EnvoyInputs> InputsAsync(CancellationToken stop);

    /// <summary>Lets that Envoy check its bootstrap (--mode validate). Null, or what it says against it.</summary>
    Task<string?> ValidateAsync(EnvoyCommand command, CancellationToken stop);
}

/// <summary>Takes one line of Envoy's output, without its line end. Called by one thread at a time.</summary>
internal delegate void EnvoyLineSink(ReadOnlySpan<byte> line);
