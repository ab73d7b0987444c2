using System.Text;

using Microsoft.Extensions.Logging;

using VmSidecar.TestKit;

namespace VmSidecar.Tests.Envoy;

/// <summary>Collects lines, of a log or of Envoy, and lets a test await one.</summary>
internal sealed class Lines : ILogger
{
    private readonly Lock _gate = new();
    private readonly List<string> _all = [];
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public IReadOnlyList<string> All { get { lock (_gate) { return [.. _all]; } } }

    public void Take(ReadOnlySpan<byte> line) => Add(Encoding.UTF8.GetString(line));

    public void Add(string line)
    {
        lock (_gate)
        {
            _all.Add(line);
            _changed.TrySetResult();
            _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }

    /// <summary>The first line that contains the text, now or later.</summary>
    public async Task<string> NextAsync(string text, int occurrence = 1)
    {
        while (true)
        {
            Task changed;
            lock (_gate)
            {
                string[] found = [.. _all.Where(l => l.Contains(text, StringComparison.Ordinal))];
                if (found.Length >= occurrence) { return found[occurrence - 1]; }
                changed = _changed.Task;
            }
            try
            {
                await changed.WaitAsync(Test.Deadline);
            }
            catch (TimeoutException)
            {
                throw new TimeoutException($"no line with '{text}' in:\n{string.Join('\n', All)}");
            }
        }
    }

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Information;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel)) { Add($"{logLevel}: {formatter(state, exception)}"); }
    }
}
