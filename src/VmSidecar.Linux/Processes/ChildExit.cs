namespace VmSidecar.Linux.Processes;

/// <summary>How a child ended, decoded from its wait status: a signal is a signal here, not 128 + n.</summary>
/// <param name="Code">Exit code; meaningless when <paramref name="Signal"/> is set.</param>
/// <param name="Signal">The signal that killed it, 0 for none.</param>
/// <param name="CoreDumped">True when the kernel wrote a core.</param>
internal readonly record struct ChildExit(int Code, int Signal, bool CoreDumped)
{
    /// <summary>Exit code 0.</summary>
    public bool IsNormal => Signal == 0 && Code == 0;

    /// <summary>SIGKILL: by us, by an operator or by the kernel when memory ran out.</summary>
    public bool IsKilled => Signal == SignalNumber.Kill;

    /// <summary>wait(2): the low seven bits are the signal, bit 7 the core flag, the next byte the exit code.</summary>
    public static ChildExit FromWaitStatus(int status) =>
        (status & 0x7f) == 0 ? new((status >> 8) & 0xff, 0, false) : new(0, status & 0x7f, (status & 0x80) != 0);

    /// <summary>The words operators know from pilot-agent's log: <c>exit status 1</c>, <c>signal: killed</c>, <c>signal: aborted (core dumped)</c>.</summary>
    public override string ToString() =>
        Signal == 0 ? $"exit status {Code}" : $"signal: {SignalNumber.Describe(Signal)}{(CoreDumped ? " (core dumped)" : "")}";
}
