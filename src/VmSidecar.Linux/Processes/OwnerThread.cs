using System.Collections.Concurrent;

namespace VmSidecar.Linux.Processes;

/// <summary>
/// The main thread, kept for what must happen on it. The kernel binds a parent-death signal to the thread that forked, and execve(2) ends every other thread:
/// only children of the thread that calls it live on. So Envoy is forked here, and here the program is replaced. Made by Program, or by a test on a thread of its own.
/// </summary>
internal sealed class OwnerThread : IDisposable
{
    private readonly BlockingCollection<Action> _acts = [];

    /// <summary>Runs <paramref name="act"/> on the thread; what it throws, the task throws.</summary>
    public Task<T> RunAsync<T>(Func<T> act)
    {
        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        _acts.Add(() => Run(act, done));
        return done.Task;
    }

    /// <summary>Does what it is given until <paramref name="main"/> ends. Called once, by the thread itself.</summary>
    public T Serve<T>(Task<T> main)
    {
        main.ContinueWith(_ => _acts.CompleteAdding(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        foreach (Action act in _acts.GetConsumingEnumerable()) { act(); }
        return main.GetAwaiter().GetResult();
    }

    public void Dispose() => _acts.Dispose();

    [SuppressMessage("Design", "CA1031", Justification = "handed to the task, whoever it is from")]
    private static void Run<T>(Func<T> act, TaskCompletionSource<T> done)
    {
        try { done.SetResult(act()); }
        catch (Exception e) { done.SetException(e); }
    }
}
