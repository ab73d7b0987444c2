using Microsoft.Extensions.Logging;

namespace VmSidecar.TestKit;

/// <summary>A logger factory that keeps every line as <c>level scope message</c>. Thread-safe.</summary>
internal sealed class ListLog : ILoggerFactory
{
    private readonly Lock _gate = new();
    private readonly List<string> _lines = [];
    private TaskCompletionSource _written = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public IReadOnlyList<string> Lines { get { lock (_gate) { return [.. _lines]; } } }

    /// <summary>Forgets the lines so far.</summary>
    public void Clear()
    {
        lock (_gate) { _lines.Clear(); }
    }

    /// <summary>Waits until a line is there.</summary>
    public async Task UntilAsync(Func<string, bool> line)
    {
        while (true)
        {
            Task written;
            lock (_gate)
            {
                if (_lines.Any(line)) { return; }
                written = _written.Task;
            }
            await written.WaitAsync(Test.Deadline);
        }
    }

    public ILogger CreateLogger(string categoryName) => new Scope(this, categoryName);

    public void AddProvider(ILoggerProvider provider) { }

    public void Dispose() { }

    private sealed class Scope(ListLog owner, string name) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            lock (owner._gate)
            {
                owner._lines.Add($"{logLevel} {name} {formatter(state, exception)}");
                owner._written.TrySetResult();
                owner._written = new(TaskCreationOptions.RunContinuationsAsynchronously);
            }
        }
    }
}
