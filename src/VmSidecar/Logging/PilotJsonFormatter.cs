using System.Text;
using System.Text.Json;

using Serilog.Events;
using Serilog.Formatting;

namespace VmSidecar.Logging;

/// <summary>The classic agent's JSON line (--log_as_json): level, time, scope, msg, labels, stack, in this order; an absent scope is left out.</summary>
internal sealed class PilotJsonFormatter : ITextFormatter
{
    public void Format(LogEvent logEvent, TextWriter output)
    {
        if (logEvent.Properties.ContainsKey(PilotLine.RawProperty))
        {
            PilotLine.WriteText(logEvent, output);
            output.Write('\n');
            return;
        }
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            Write(logEvent, json);
        }
        output.Write(Encoding.UTF8.GetString(buffer.GetBuffer(), 0, (int)buffer.Length));
        output.Write('\n');
    }

    private static void Write(LogEvent entry, Utf8JsonWriter json)
    {
        (string message, List<KeyValuePair<string, string>> labels) = PilotLine.Split(entry);
        json.WriteStartObject();
        json.WriteString("level", PilotLine.Level(entry.Level));
        json.WriteString("time", PilotLine.Time(entry.Timestamp));
        if (PilotLine.Scope(entry) is { } scope) { json.WriteString("scope", scope); }
        json.WriteString("msg", message);
        foreach ((string key, string value) in labels) { json.WriteString(key, value); }
        if (entry.Exception is { } exception) { json.WriteString("stack", exception.ToString()); }
        json.WriteEndObject();
    }
}
