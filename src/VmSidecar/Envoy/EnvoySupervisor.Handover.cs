using VmSidecar.Linux.Processes;

namespace VmSidecar.Envoy;

/// <summary>One Envoy takes the place of another that still runs.</summary>
internal sealed partial class EnvoySupervisor
{
    private static readonly TimeSpan RetireGrace = TimeSpan.FromSeconds(30); // beyond --parent-shutdown-time-s

    private int _epoch;
    private EnvoyProcess? _retiring; // drains; ends when the newer one tells it to
    private Task _retired = Task.CompletedTask;
    private volatile bool _isHandingOver;

    /// <summary>Starts the next epoch beside the running Envoy and returns the one that serves afterwards; the given one when the new one does not get that far.</summary>
    private async Task<EnvoyProcess> HandOverAsync(EnvoyProcess running, EnvoyCommand command, CancellationToken stop)
    {
        _isHandingOver = true;
        try { return await SucceedAsync(running, command, stop); }
        finally { _isHandingOver = false; }
    }

    private async Task<EnvoyProcess> SucceedAsync(EnvoyProcess running, EnvoyCommand command, CancellationToken stop)
    {
        await _retired.WaitAsync(stop); // Envoy knows one parent and one child
        EnvoyProcess successor;
        try { successor = await SpawnAsync(command, takesPlace: false); }
        catch (ChildStartException e)
        {
            return Failed(running, command, e.Message);
        }
        try
        {
            if (await _handover.TakesOverAsync(successor, _epoch + 1, stop)) { return Swap(running, successor, command); }
        }
        catch (OperationCanceledException)
        {
            await _drain.EndAsync(successor);
            throw;
        }
        await _drain.EndAsync(successor);
        await successor.DrainOutputAsync(time);
        return Failed(running, command, successor.Words.Explain());
    }

    private EnvoyProcess Failed(EnvoyProcess running, EnvoyCommand command, string cause)
    {
        _handover.Refuse(command.Inputs);
        EnvoyLog.HandoverFailed(log, cause);
        return running;
    }

    private EnvoyProcess Swap(EnvoyProcess running, EnvoyProcess successor, EnvoyCommand command)
    {
        _epoch++;
        _retiring = running;
        _retired = RetireAsync(running);
        TookPlace(successor.Id, command);
        return successor;
    }

    /// <summary>The old Envoy ends when its drain is over; one that does not is ended.</summary>
    private async Task RetireAsync(EnvoyProcess old)
    {
        using var ended = new CancellationTokenSource();
        Task late = Task.Delay(EnvoyArguments.ParentShutdown(options) + RetireGrace, time, ended.Token);
        if (await Task.WhenAny(old.Exited, late) == late) { await _drain.EndAsync(old); }
        await ended.CancelAsync();
        await old.DrainOutputAsync(time);
        EnvoyLog.Retired(log, old.Id);
        _retiring = null;
    }

    /// <summary>Without the newer one the older has nobody to tell it to end.</summary>
    private async Task EndRetiringAsync()
    {
        if (_retiring is { } old) { await _drain.EndAsync(old); }
        await _retired;
    }
}
