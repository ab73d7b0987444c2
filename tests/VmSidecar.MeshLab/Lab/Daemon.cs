using System.Diagnostics;

namespace VmSidecar.MeshLab.Lab;

/// <summary>One long-running process of the lab; its output goes to a file. Killed with its children when disposed.</summary>
internal sealed class Daemon : IAsyncDisposable
{
    private readonly Process _process;
    private readonly StreamWriter _log;
    private readonly Lock _gate = new();
    private readonly List<string> _lines = [];
    private TaskCompletionSource _grew = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private Daemon(string name, Process process, string logFile)
    {
        Name = name;
        LogFile = logFile;
        _process = process;
        _log = new StreamWriter(logFile) { AutoFlush = true };
    }

    public string Name { get; }

    public string LogFile { get; }

    public int Pid => _process.Id;

    public bool HasExited => _process.HasExited;

    /// <summary>Starts a command; its lines can be awaited.</summary>
    public static Daemon Start(string name, string logFile, string[] command, IReadOnlyDictionary<string, string>? environment = null)
    {
        ProcessStartInfo info = Shell.Info(command, input: false);
        foreach ((string key, string value) in environment ?? new Dictionary<string, string>()) { info.Environment[key] = value; }
        var process = new Process { StartInfo = info };
        var daemon = new Daemon(name, process, logFile);
        process.OutputDataReceived += (_, line) => daemon.Add(line.Data);
        process.ErrorDataReceived += (_, line) => daemon.Add(line.Data);
        process.Start();
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return daemon;
    }

    /// <summary>The first line that holds the text, waiting for it; fails when the process ends or the deadline passes first.</summary>
    public async Task<string> LineAsync(string text, TimeSpan deadline, CancellationToken stop)
    {
        using var timer = new CancellationTokenSource(deadline);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop, timer.Token);
        while (true)
        {
            Task grew;
            lock (_gate)
            {
                if (_lines.Find(l => l.Contains(text, StringComparison.Ordinal)) is { } found) { return found; }
                grew = _grew.Task;
            }
            Task first = await Task.WhenAny(grew, _process.WaitForExitAsync(both.Token));
            if (first != grew || both.IsCancellationRequested)
            {
                stop.ThrowIfCancellationRequested();
                throw new LabException($"{Name} did not say '{text}' ({(HasExited ? $"it ended with {_process.ExitCode}" : "too late")}); its last lines:\n{Tail()}");
            }
        }
    }

    /// <summary>SIGTERM, then waits; false when it had to be killed.</summary>
    public async Task<bool> TerminateAsync(TimeSpan deadline, CancellationToken stop)
    {
        if (_process.HasExited) { return true; }
        await Shell.RunAsync(["kill", "-TERM", $"{_process.Id}"], stop);
        using var timer = new CancellationTokenSource(deadline);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(stop, timer.Token);
        try
        {
            await _process.WaitForExitAsync(both.Token);
            return true;
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            _process.Kill(entireProcessTree: true);
            return false;
        }
    }

    /// <summary>The last lines it wrote.</summary>
    public string Tail() { lock (_gate) { return string.Join('\n', _lines.TakeLast(25)); } }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
            await _process.WaitForExitAsync();
        }
        _process.Dispose();
        lock (_gate) { _log.Dispose(); }
    }

    private void Add(string? line)
    {
        if (line is null) { return; }
        lock (_gate)
        {
            if (!_log.BaseStream.CanWrite) { return; }
            _log.WriteLine(line);
            _lines.Add(line);
            if (_lines.Count > 5000) { _lines.RemoveRange(0, 2500); }
            TaskCompletionSource was = _grew;
            _grew = new(TaskCreationOptions.RunContinuationsAsynchronously);
            was.TrySetResult();
        }
    }
}
