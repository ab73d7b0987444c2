using System.Runtime.InteropServices;

using VmSidecar.Linux.Processes;

namespace VmSidecar.Linux;

/// <summary>
/// The agent's signals: the first TERM or INT asks for a stop, a further one hurries it; HUP reloads; USR1 reopens logs. None of them kills the process by default action
/// from the moment this exists; what comes before somebody listens is kept for them. Made by Program, first thing, on the main thread.
/// </summary>
internal sealed class Signals : IDisposable
{
    private const PosixSignal Usr1 = (PosixSignal)10; // raw numbers are allowed where the enum has no name
    private readonly CancellationTokenSource _stop = new();
    private readonly List<PosixSignalRegistration> _registrations = [];
    private readonly Lock _gate = new();
    private readonly HashSet<Act> _early = [];
    private Dictionary<Act, Action>? _listener;

    /// <summary>Handlers are there when this returns; signals that the program before this one in the process left blocked arrive then.</summary>
    public Signals()
    {
        Register(PosixSignal.SIGTERM, RequestStop);
        Register(PosixSignal.SIGINT, RequestStop);
        Register(PosixSignal.SIGHUP, () => Tell(Act.Reload));
        Register(Usr1, () => Tell(Act.Reopen));
        ProgramImage.UnblockSignals();
    }

    private enum Act
    {
        Hurry,
        Reload,
        Reopen,
    }

    /// <summary>Fires at the first TERM or INT.</summary>
    public CancellationToken StopRequested => _stop.Token;

    /// <summary>From now on these are called; at once for what has come already, once each.</summary>
    /// <param name="hurry">For every TERM or INT after the first.</param>
    /// <param name="reload">For HUP.</param>
    /// <param name="reopen">For USR1.</param>
    public void Listen(Action hurry, Action reload, Action reopen)
    {
        Act[] early;
        lock (_gate)
        {
            _listener = new Dictionary<Act, Action> { [Act.Hurry] = hurry, [Act.Reload] = reload, [Act.Reopen] = reopen };
            early = [.. _early];
            _early.Clear();
        }
        foreach (Act act in early) { _listener[act](); }
    }

    public void Dispose()
    {
        _registrations.ForEach(r => r.Dispose());
        _stop.Dispose();
    }

    private void RequestStop()
    {
        if (_stop.IsCancellationRequested) { Tell(Act.Hurry); return; }
        _stop.Cancel();
    }

    private void Tell(Act act)
    {
        Action? listener;
        lock (_gate)
        {
            listener = _listener?[act];
            if (listener is null) { _early.Add(act); }
        }
        listener?.Invoke();
    }

    private void Register(PosixSignal signal, Action act) => _registrations.Add(PosixSignalRegistration.Create(signal, context =>
    {
        context.Cancel = true; // the default action would end the process
        act();
    }));
}
