using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace VmSidecar.Commands;

/// <summary>The state as an operator reads it: one line a part, and under it what is wrong, if anything is. Pure.</summary>
internal static class StatusText
{
    /// <summary>Text without a final line break.</summary>
    public static string Render(JsonObject state, DateTimeOffset now)
    {
        var text = new StringBuilder();
        string? reason = state["reason"]?.ToString();
        text.Append(reason is null ? "ready" : "NOT READY: " + reason.ReplaceLineEndings(" ")).Append('\n');
        Line(text, "agent", $"{(state["version"]?.ToString() is { Length: > 0 } version ? $"version {version}, " : "")}up {Age(state["started"], now)}");
        if (state["istiod"] is JsonObject istiod) { Istiod(text, istiod, now); }
        if (state["certificate"] is JsonObject certificate) { Certificate(text, certificate, now); }
        if (state["envoy"] is JsonObject envoy) { Envoy(text, envoy, now); }
        Line(text, "names", state["names"] is JsonObject names
            ? $"{names["hosts"]} hosts, taken {Age(names["taken"], now)} ago{(names["fromDisk"] is JsonValue disk && disk.TryGetValue(out bool fromDisk) && fromDisk ? " (from disk: istiod has not sent one yet)" : "")}"
            : "no table yet");
        return ConsoleText.Lines(text.ToString().TrimEnd('\n'));
    }

    private static void Istiod(StringBuilder text, JsonObject istiod, DateTimeOffset now)
    {
        string stream = istiod["stream"]?.ToString() switch
        {
            "Joint" => "connected" + For(istiod["since"], now),
            "Agent" => $"connected{For(istiod["since"], now)}, names only: Envoy has no stream",
            _ => "NOT CONNECTED" + For(istiod["since"], now),
        };
        Line(text, "istiod", $"{stream} ({istiod["mode"]})");
        Trouble(text, istiod["trouble"]);
        if (istiod["staleFrom"] is { } stale) { Trouble(text, JsonValue.Create($"STALE: Envoy is served from the disk; istiod was last heard {Age(stale, now)} ago")); }
        Filters(text, istiod["leftOut"], "left out for this Envoy, which is not Istio's build: ");
        Filters(text, istiod["keptIn"], "Envoy cannot load, and access rules need: ");
        foreach (JsonNode? type in istiod["types"] as JsonArray ?? [])
        {
            if (type is JsonObject known && known["error"]?.ToString() is { Length: > 0 } error) { Trouble(text, JsonValue.Create($"{Short(known["type"])} rejected: {error}")); }
        }
    }

    private static void Filters(StringBuilder text, JsonNode? names, string what)
    {
        if (names is JsonArray { Count: > 0 } filters) { Trouble(text, JsonValue.Create(what + string.Join(", ", filters.Select(f => f?.ToString())))); }
    }

    private static void Certificate(StringBuilder text, JsonObject certificate, DateTimeOffset now)
    {
        Line(text, "certificate", certificate["source"]?.ToString() == "external SDS" ? "from an external SDS" : Until(certificate["until"]) is not { } until ? "NONE"
            : until > now ? $"valid for {Span(until - now)}" : $"EXPIRED {Span(now - until)} ago");
        Trouble(text, certificate["lastError"]);
        Trouble(text, certificate["advice"]); // also while all is well: what will go wrong if nobody acts
    }

    private static void Envoy(StringBuilder text, JsonObject envoy, DateTimeOffset now)
    {
        string phase = envoy["phase"]?.ToString() ?? "";
        long starts = envoy["starts"] is JsonValue count && count.TryGetValue(out long value) ? value : 0;
        Line(text, "envoy", phase == "Running"
            ? $"running{For(envoy["since"], now)} (pid {envoy["pid"]}{(starts > 1 ? string.Create(CultureInfo.InvariantCulture, $", {starts - 1} restarts") : "")})"
            : phase.ToUpperInvariant() + For(envoy["since"], now));
        if (phase != "Running") { Trouble(text, envoy["lastExit"]); }
    }

    private static void Line(StringBuilder text, string name, string value) => text.Append(name.PadRight(13)).Append(value.ReplaceLineEndings(" ")).Append('\n');

    private static void Trouble(StringBuilder text, JsonNode? what)
    {
        if (what?.ToString() is { Length: > 0 } trouble) { text.Append("             ").Append(trouble.ReplaceLineEndings(" ")).Append('\n'); }
    }

    private static string Short(JsonNode? typeUrl) => typeUrl?.ToString().Split('.')[^1] ?? "";

    private static string For(JsonNode? since, DateTimeOffset now) => Until(since) is { } when ? " for " + Span(now - when) : "";

    private static string Age(JsonNode? since, DateTimeOffset now) => Until(since) is { } when ? Span(now - when) : "an unknown time";

    private static DateTimeOffset? Until(JsonNode? when) =>
        DateTimeOffset.TryParse(when?.ToString(), CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out DateTimeOffset value) ? value : null;

    /// <summary>Two units are enough for a person: 3d4h, 23h58m, 3m12s, 4s.</summary>
    private static string Span(TimeSpan span) => string.Create(CultureInfo.InvariantCulture, $"{span switch
    {
        { Days: > 0 } => $"{(int)span.TotalDays}d{span.Hours}h",
        { Hours: > 0 } => $"{span.Hours}h{span.Minutes}m",
        { Minutes: > 0 } => $"{span.Minutes}m{span.Seconds}s",
        _ => $"{Math.Max(0, span.Seconds)}s",
    }}");
}
