using Microsoft.Extensions.Logging;

namespace VmSidecar.TestKit.Istiod;

/// <summary>What istiod itself logs, as far as a person reading a lab's output needs it.</summary>
internal static partial class IstiodLog
{
    [LoggerMessage(1, LogLevel.Information, "{Type}: PUSH for node:{Node} resources:{Count}")]
    public static partial void Pushed(ILogger log, string type, string node, int count);

    [LoggerMessage(2, LogLevel.Warning, "ADS:{Type}: ACK ERROR {Stream} Internal:{Message}")]
    public static partial void Rejected(ILogger log, string type, string stream, string message);

    [LoggerMessage(3, LogLevel.Warning, "unable to derive WorkloadEntry for health update for {Stream}")]
    public static partial void HealthWithoutEntry(ILogger log, string stream);

    [LoggerMessage(4, LogLevel.Error, "VIOLATION {Stream}: {What}")]
    public static partial void Violation(ILogger log, string stream, string what);

    [LoggerMessage(5, LogLevel.Information, "ADS: stream {Stream} of {Node} ended: {Status}")]
    public static partial void Ended(ILogger log, string stream, string node, string status);
}
