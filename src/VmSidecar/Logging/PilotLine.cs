using System.Globalization;

using Serilog.Events;
using Serilog.Parsing;

namespace VmSidecar.Logging;

/// <summary>Splits a log event into the parts of the classic agent's line: message, then labels. In a template the labels stand after one TAB as <c>key={Value}</c>, separated by single spaces.</summary>
internal static class PilotLine
{
    /// <summary>Property that marks a line of Envoy's, printed as it came.</summary>
    public const string RawProperty = "Raw";

    /// <summary>27 characters, UTC, six fractional digits, truncated.</summary>
    public static string Time(DateTimeOffset when) =>
        when.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture);

    /// <summary>Level in the classic spelling.</summary>
    public static string Level(LogEventLevel level) => level switch
    {
        LogEventLevel.Verbose or LogEventLevel.Debug => "debug",
        LogEventLevel.Information => "info",
        LogEventLevel.Warning => "warn",
        LogEventLevel.Error => "error",
        _ => "fatal",
    };

    /// <summary>The scope, or null for the default scope, which the line omits.</summary>
    public static string? Scope(LogEvent entry) =>
        entry.Properties.TryGetValue(Serilog.Core.Constants.SourceContextPropertyName, out LogEventPropertyValue? value)
        && value is ScalarValue { Value: string scope } && scope != "default" ? scope : null;

    /// <summary>Writes the message, labels included, values unquoted. Line breaks inside values become spaces: one event stays one line for the classic text form.</summary>
    public static void WriteText(LogEvent entry, TextWriter output)
    {
        foreach (MessageTemplateToken token in entry.MessageTemplate.Tokens)
        {
            if (token is TextToken text) { output.Write(text.Text); }
            else if (token is PropertyToken property) { output.Write(OneLine(Value(entry, property))); }
        }
    }

    /// <summary>The message without labels, and the labels in order.</summary>
    public static (string Message, List<KeyValuePair<string, string>> Labels) Split(LogEvent entry)
    {
        var whole = new StringWriter(CultureInfo.InvariantCulture);
        List<KeyValuePair<string, string>> labels = [];
        string? key = null;
        bool inLabels = false;
        foreach (MessageTemplateToken token in entry.MessageTemplate.Tokens)
        {
            switch (token)
            {
                case TextToken text when inLabels:
                    key = text.Text.Trim().TrimEnd('=');
                    break;
                case TextToken text:
                    int tab = text.Text.IndexOf('\t', StringComparison.Ordinal);
                    whole.Write(tab < 0 ? text.Text : text.Text[..tab]);
                    inLabels = tab >= 0;
                    key = inLabels ? text.Text[(tab + 1)..].TrimEnd('=') : null;
                    break;
                case PropertyToken property when inLabels:
                    labels.Add(new(key ?? property.PropertyName, Value(entry, property)));
                    break;
                case PropertyToken property:
                    whole.Write(Value(entry, property));
                    break;
            }
        }
        return (whole.ToString(), labels);
    }

    /// <summary>A peer's text must not be able to forge a line or steer a terminal.</summary>
    private static string OneLine(string text) => text.Any(char.IsControl) ? string.Concat(text.Select(c => char.IsControl(c) && c != '\t' ? ' ' : c)) : text;

    private static string Value(LogEvent entry, PropertyToken token)
    {
        if (!entry.Properties.TryGetValue(token.PropertyName, out LogEventPropertyValue? value)) { return token.ToString(); }
        return value is ScalarValue scalar
            ? scalar.Value switch
            {
                null => "<nil>",
                bool flag => flag ? "true" : "false",
                TimeSpan span => GoDuration.Format(span),
                IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
                _ => scalar.Value.ToString() ?? "",
            }
            : value.ToString(null, CultureInfo.InvariantCulture);
    }
}
