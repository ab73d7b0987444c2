using System.Text;

using Microsoft.Extensions.Logging;

using Serilog;
using Serilog.Core;
using Serilog.Events;
using Serilog.Extensions.Logging;
using Serilog.Formatting;
using Serilog.Parsing;

using VmSidecar.Configuration;

namespace VmSidecar.Logging;

/// <summary>Everything the daemon says: one file in the classic agent's line format, the same lines on standard output, Envoy's lines between ours. Owned by Program.</summary>
internal sealed class SidecarLogging : IDisposable
{
    private readonly Logger _root;
    private readonly ReopenableFile? _file;

    private SidecarLogging(Logger root, ReopenableFile? file)
    {
        _root = root;
        _file = file;
        Factory = new SerilogLoggerFactory(root);
    }

    /// <summary>Makes loggers; the category is the scope.</summary>
    public ILoggerFactory Factory { get; }

    /// <summary>Opens the sinks. An unwritable file is reported in <paramref name="problem"/>; the lines then go to standard output.</summary>
    /// <param name="options">File, levels, form.</param>
    /// <param name="underSystemd">Standard output is the journal: prefix priorities.</param>
    /// <param name="problem">Why the file cannot be written, with the fix; null when it can.</param>
    public static SidecarLogging Open(LogOptions options, bool underSystemd, out string? problem)
    {
        ITextFormatter text = options.Json ? new PilotJsonFormatter() : new PilotTextFormatter(journal: false);
        problem = null;
        ReopenableFile? file = null;
        var log = new LoggerConfiguration().MinimumLevel.Is(ToSerilog(options.DefaultLevel));
        log.MinimumLevel.Override("Microsoft", LogEventLevel.Fatal);
        foreach ((string scope, LogLevel level) in options.Scopes) { log.MinimumLevel.Override(scope, ToSerilog(level)); }
        if (options.File is { } path)
        {
            file = ReopenableFile.TryOpen(path, text, out string reason);
            if (file is not null) { log.WriteTo.Sink(file); }
            else { problem = $"cannot write the log file {path}: {reason} Make its folder writable for this user (chown istio-proxy); lines go to standard output until then"; }
        }
        if (options.Console || file is null)
        {
            ITextFormatter console = options.Json ? text : new PilotTextFormatter(underSystemd);
            log.WriteTo.Console(console);
        }
        return new SidecarLogging(log.CreateLogger(), file);
    }

    /// <summary>One line of Envoy's, passed on unchanged. Bytes that are not UTF-8 become replacement characters.</summary>
    public void WriteEnvoyLine(ReadOnlySpan<byte> line)
    {
        var template = new MessageTemplate([new TextToken(Encoding.UTF8.GetString(line))]);
        _root.Write(new LogEvent(TimeProvider.System.GetUtcNow(), LevelOf(line), null, template, [new LogEventProperty(PilotLine.RawProperty, new ScalarValue(true))]));
    }

    /// <summary>For logrotate: closes and reopens the file. Returns why it could not, or null.</summary>
    public string? Reopen() => _file?.Reopen();

    public void Dispose()
    {
        Factory.Dispose();
        _root.Dispose();
        _file?.Dispose();
    }

    /// <summary>Envoy's level is its second TAB-separated field; anything else counts as information.</summary>
    private static LogEventLevel LevelOf(ReadOnlySpan<byte> line)
    {
        int first = line.IndexOf((byte)'\t');
        if (first < 0) { return LogEventLevel.Information; }
        ReadOnlySpan<byte> level = line[(first + 1)..];
        return level.StartsWith("warn"u8) ? LogEventLevel.Warning
            : level.StartsWith("error"u8) || level.StartsWith("critical"u8) ? LogEventLevel.Error
            : LogEventLevel.Information;
    }

    private static LogEventLevel ToSerilog(LogLevel level) => level switch
    {
        LogLevel.Trace or LogLevel.Debug => LogEventLevel.Debug,
        LogLevel.Information => LogEventLevel.Information,
        LogLevel.Warning => LogEventLevel.Warning,
        LogLevel.Error => LogEventLevel.Error,
        _ => LogEventLevel.Fatal,
    };
}
