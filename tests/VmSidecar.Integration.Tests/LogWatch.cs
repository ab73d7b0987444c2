using Microsoft.Extensions.Logging;

using VmSidecar.TestKit;
using VmSidecar.TestKit.Istiod;

namespace VmSidecar.Integration.Tests;

/// <summary>Every line the agent logs, and a way to wait for one. Thread-safe.</summary>
internal sealed class LogWatch : ILoggerFactory
{
    private readonly Lock _gate = new();
    private readonly List<string> _lines = [];
    private readonly StateSignal _changed = new();

    /// <summary>Lines as <c>level scope message</c>.</summary>
    public IReadOnlyList<string> Lines { get { lock (_gate) { return [.. _lines]; } } }

    /// <summary>The first line with <paramref name="text"/> in it.</summary>
    public Task<string> LineAsync(string text) => LineAsync($"with '{text}'", l => l.Contains(text, StringComparison.Ordinal));

    /// <summary>The first warning or worse with <paramref name="text"/> in it, in letters of either case.</summary>
    public Task<string> TroubleAsync(string text) =>
        LineAsync($"of a warning or worse with '{text}'", l => (l.StartsWith("Warning", StringComparison.Ordinal) || l.StartsWith("Error", StringComparison.Ordinal)) && l.Contains(text, StringComparison.OrdinalIgnoreCase));

    private async Task<string> LineAsync(string what, Func<string, bool> isIt)
    {
        string? Found() => Lines.FirstOrDefault(isIt);
        try { await _changed.UntilAsync(() => Found() is not null, what, Test.Deadline); }
        catch (TimeoutException) { throw new TimeoutException($"no line {what} in:\n{string.Join('\n', Lines)}"); }
        return Found()!;
    }

    /// <summary>How many lines have <paramref name="text"/> in them.</summary>
    public int Count(string text) => Lines.Count(l => l.Contains(text, StringComparison.Ordinal));

    public ILogger CreateLogger(string categoryName) => new Scope(this, categoryName);

    public void AddProvider(ILoggerProvider provider) { }

    public void Dispose() { }

    private sealed class Scope(LogWatch owner, string name) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            lock (owner._gate) { owner._lines.Add($"{logLevel} {name} {formatter(state, exception)} {exception?.Message}".TrimEnd()); }
            owner._changed.Raise();
        }
    }
}
