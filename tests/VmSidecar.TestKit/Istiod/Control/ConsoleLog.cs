using Microsoft.Extensions.Logging;

namespace VmSidecar.TestKit.Istiod.Control;

/// <summary>istiod's log on standard output, one line each.</summary>
internal sealed class ConsoleLog : ILogger, IDisposable
{
    private readonly Lock _gate = new();

    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Information;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        lock (_gate) { Console.Out.WriteLine($"{logLevel.ToString().ToLowerInvariant()}\t{formatter(state, exception)}"); }
    }

    public void Dispose() => Console.Out.Flush();
}
