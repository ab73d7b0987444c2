using VmSidecar.Linux.Processes;

namespace VmSidecar.Envoy;

/// <summary>The agent is replaced in place: its Envoy is left to the next one, or was taken over from the one before.</summary>
internal sealed partial class EnvoySupervisor
{
    private readonly TaskCompletionSource _leaving = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _unbound = new(); // ends the wait before the next start: at a stop, and when leaving
    private EnvoyEstate? _left;
    private EnvoyProcess? _adopted;

    /// <summary>Why the running Envoy cannot be left to another agent now; null when it can.</summary>
    public string? CannotLeave() => _retiring is not null || _isHandingOver ? "one Envoy is taking over from another; ask again when that is over (see the log)"
        : parts.Owner is null ? "Envoy was not started to be left to another agent" : null;

    /// <summary>The Envoy that goes on without this agent; null: there is none.</summary>
    public EnvoyEstate? Left => _left;

    /// <summary>Watches Envoy no more and leaves it as it is.</summary>
    public async Task LeaveAsync(CancellationToken hard)
    {
        _leaving.TrySetResult();
        await _unbound.CancelAsync();
        await _loop.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _pump.DisposeAsync();
        await _stop.CancelAsync(); // what else waits for it
        Dispose();
    }

    /// <summary>False: there is no Envoy of the agent before, or it is not this process's child.</summary>
    private bool Adopt()
    {
        if (parts.Estate is not { } estate) { return false; }
        ChildProcess? child = PeerProcess.Of(estate.Process.Id) == estate.Process ? ChildProcess.Adopt(estate.Process.Id, estate.Output, estate.Error) : null;
        if (child is null)
        {
            EnvoyLog.NotAdopted(log, estate.Process.Id);
            Publish(EnvoyPhase.Idle, 0);
            return false;
        }
        _metrics.Adopted();
        _epoch = estate.Epoch;
        _version = estate.Version;
        if (estate.Drained) { _drain.SkipDrain(); }
        var words = new LastWords();
        foreach (string line in estate.Words) { words.Add(System.Text.Encoding.UTF8.GetBytes(line)); }
        _adopted = new EnvoyProcess(child, words, _pump.Attach(child, words, estate.Half)) { Inputs = estate.Inputs };
        EnvoyLog.Adopted(log, child.Id);
        return true;
    }

    /// <summary>The adopted Envoy, once. The bootstrap is written as this agent would start it: a difference is noticed like any other change.</summary>
    private async Task<EnvoyProcess?> AdoptedAsync(CancellationToken stop)
    {
        if (_adopted is not { } envoy) { return null; }
        _adopted = null;
        try { await parts.Renderer.RenderAsync(stop, _epoch); }
        catch (OperationCanceledException) when (stop.IsCancellationRequested) { } // it is running, and drained like any other
        return envoy;
    }

    /// <summary>One that has just ended, or whose pipes cannot be handed on, is left all the same: the next agent finds it dead, or ends it.</summary>
    private async Task<TimeSpan> PartAsync(EnvoyProcess envoy)
    {
        if (envoy.Output.Duplicate() is not var (output, error)) { return TimeSpan.Zero; }
        EnvoyState state = _state.Current!;
        HalfLines half = await envoy.Output.PartAsync();
        _left = new EnvoyEstate(PeerProcess.Of(envoy.Id), output, error)
        {
            Half = half, Words = envoy.Words.Lines, Inputs = envoy.Inputs, Epoch = _epoch, Starts = state.Starts, Since = state.Since, Version = _version, Drained = _drain.IsDrained,
        };
        return TimeSpan.Zero;
    }
}
