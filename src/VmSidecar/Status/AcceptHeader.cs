using System.Globalization;

namespace VmSidecar.Status;

/// <summary>Rewrites a scraper's Accept header for what stands behind us. Protobuf is never asked for: its bodies cannot be joined. Pure.</summary>
internal static class AcceptHeader
{
    /// <summary>What is asked when nothing usable was.</summary>
    public const string PlainText = "text/plain;version=0.0.4";

    private const string OpenMetrics = "application/openmetrics-text";

    /// <summary>For Envoy: text only. For applications: text and OpenMetrics.</summary>
    public static string Rewrite(string? accept, bool allowOpenMetrics)
    {
        List<(string Type, List<string> Parameters)> kept = [];
        foreach (string entry in (accept ?? "").Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            string[] parts = entry.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
            if (parts.Length == 0 || parts[0].Count(c => c == '/') > 1) { continue; }
            Keep(kept, parts[0].ToLowerInvariant(), [.. parts.Skip(1).Where(p => !p.StartsWith("q=", StringComparison.OrdinalIgnoreCase))], allowOpenMetrics);
        }
        return kept.Count == 0 ? PlainText : string.Join(',', kept.Select((k, i) => Format(k.Type, k.Parameters, kept.Count - i)));
    }

    private static void Keep(List<(string Type, List<string> Parameters)> kept, string type, List<string> parameters, bool allowOpenMetrics)
    {
        switch (type)
        {
            case "*/*" or "*" when !kept.Exists(k => k.Type == "text/plain"):
                kept.Add(("text/plain", ["version=0.0.4"]));
                break;
            case "application/*" when allowOpenMetrics && !kept.Exists(k => k.Type == OpenMetrics):
                kept.Add((OpenMetrics, ["version=0.0.1"]));
                break;
            case "text/plain" or "text/*":
            case OpenMetrics when allowOpenMetrics:
                kept.Add((type, parameters));
                break;
        }
    }

    private static string Format(string type, List<string> parameters, int rank)
    {
        string quality = string.Create(CultureInfo.InvariantCulture, $"q={Math.Min(rank, 9) / 10.0:0.0}");
        return string.Join("; ", [type, .. parameters.Append(quality).Order(StringComparer.Ordinal)]);
    }
}
