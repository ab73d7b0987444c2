using Serilog.Events;
using Serilog.Formatting;

namespace VmSidecar.Logging;

/// <summary>The classic agent's text line: time TAB level TAB [scope TAB] message [TAB labels]. Lines of Envoy's pass unchanged.</summary>
/// <param name="journal">Prefix each line with its syslog priority (<c>&lt;4&gt;</c>), as systemd's journal reads it.</param>
internal sealed class PilotTextFormatter(bool journal) : ITextFormatter
{
    public void Format(LogEvent logEvent, TextWriter output)
    {
        if (journal) { output.Write(Priority(logEvent.Level)); }
        if (logEvent.Properties.ContainsKey(PilotLine.RawProperty))
        {
            PilotLine.WriteText(logEvent, output);
            output.Write('\n');
            return;
        }
        output.Write(PilotLine.Time(logEvent.Timestamp));
        output.Write('\t');
        output.Write(PilotLine.Level(logEvent.Level));
        output.Write('\t');
        if (PilotLine.Scope(logEvent) is { } scope)
        {
            output.Write(scope);
            output.Write('\t');
        }
        PilotLine.WriteText(logEvent, output);
        output.Write('\n');
        if (logEvent.Exception is { } exception)
        {
            output.Write(exception.ToString());
            output.Write('\n');
        }
    }

    private static string Priority(LogEventLevel level) => level switch
    {
        LogEventLevel.Verbose or LogEventLevel.Debug => "<7>",
        LogEventLevel.Information => "<6>",
        LogEventLevel.Warning => "<4>",
        LogEventLevel.Error => "<3>",
        _ => "<2>",
    };
}
