using System.Runtime.InteropServices;

namespace VmSidecar.Linux;

/// <summary>The agent's signals: the first TERM or INT asks for a stop, a further one hurries it; HUP reloads; USR1 reopens logs. None of them kills the process by default action any more. Owned by Program.</summary>
internal sealed class Signals : IDisposable
{
    private const PosixSignal Usr1 = (PosixSignal)10; // raw numbers are allowed where the enum has no name
    private readonly CancellationTokenSource _stop = new();
    private readonly List<PosixSignalRegistration> _registrations = [];

    /// <param name="hurry">Called for every TERM or INT after the first.</param>
    /// <param name="reload">Called for HUP.</param>
    /// <param name="reopen">Called for USR1.</param>
    public Signals(Action hurry, Action reload, Action reopen)
    {
        Register(PosixSignal.SIGTERM, () => RequestStop("SIGTERM", hurry));
        Register(PosixSignal.SIGINT, () => RequestStop("SIGINT", hurry));
        Register(PosixSignal.SIGHUP, reload);
        Register(Usr1, reopen);
    }

    /// <summary>Fires at the first TERM or INT.</summary>
    public CancellationToken StopRequested => _stop.Token;

    /// <summary>Name of the signal that asked for the stop; null before.</summary>
    public string? StopSignal { get; private set; }

    public void Dispose()
    {
        _registrations.ForEach(r => r.Dispose());
        _stop.Dispose();
    }

    private void RequestStop(string signal, Action hurry)
    {
        if (_stop.IsCancellationRequested) { hurry(); return; }
        StopSignal = signal;
        _stop.Cancel();
    }

    private void Register(PosixSignal signal, Action act) => _registrations.Add(PosixSignalRegistration.Create(signal, context =>
    {
        context.Cancel = true; // the default action would end the process
        act();
    }));
}
