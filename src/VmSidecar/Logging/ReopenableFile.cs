using System.Text;

using Serilog;
using Serilog.Core;
using Serilog.Events;
using Serilog.Formatting;

namespace VmSidecar.Logging;

/// <summary>The log file: appended to, reopened on request so that logrotate may rename it. A failed write costs the line, never the daemon.</summary>
internal sealed class ReopenableFile : ILogEventSink, IDisposable
{
    private readonly Lock _gate = new();
    private readonly string _path;
    private readonly ITextFormatter _formatter;
    private Logger _file;

    private ReopenableFile(string path, ITextFormatter formatter)
    {
        _path = path;
        _formatter = formatter;
        _file = Open();
    }

    /// <summary>Opens the file, making its folder; null and the reason when it cannot be written.</summary>
    public static ReopenableFile? TryOpen(string path, ITextFormatter formatter, out string problem)
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            problem = "";
            return new ReopenableFile(path, formatter);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            problem = e.Message;
            return null;
        }
    }

    public void Emit(LogEvent logEvent)
    {
        lock (_gate)
        {
            try { _file.Write(logEvent); }
            catch (AggregateException) { Lost++; } // how an audit sink reports a failed write
        }
    }

    /// <summary>Lines the disk did not take.</summary>
    public long Lost { get; private set; }

    /// <summary>Closes the old file and opens the path anew. Keeps the old one when that fails; returns the reason then.</summary>
    public string? Reopen()
    {
        lock (_gate)
        {
            try
            {
                Logger opened = Open();
                _file.Dispose();
                _file = opened;
                return null;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return e.Message;
            }
        }
    }

    public void Dispose() { lock (_gate) { _file.Dispose(); } }

    /// <summary>An audit sink throws when it cannot open or write; the plain one would fall silent.</summary>
    private Logger Open() => new LoggerConfiguration()
        .MinimumLevel.Verbose()
        .AuditTo.File(_formatter, _path, encoding: new UTF8Encoding(encoderShouldEmitUTF8Identifier: false))
        .CreateLogger();
}
