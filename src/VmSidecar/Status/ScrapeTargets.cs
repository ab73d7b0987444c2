using System.Globalization;
using System.Text.Json.Nodes;

using VmSidecar.Configuration;

namespace VmSidecar.Status;

/// <summary>Where one application's metrics are.</summary>
internal sealed record ScrapeTarget(int Port, string Path);

/// <summary>Reads ISTIO_PROMETHEUS_ANNOTATIONS: <c>{"scrape":"true","path":"/metrics","port":"9100"}</c>, or <c>targets</c> in place of one. Pure.</summary>
internal static class ScrapeTargets
{
    private static readonly int[] Forbidden = [15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090]; // scraping ourselves would loop

    /// <summary>The targets, empty when scraping is off or unset. False with the problem when the value cannot be used.</summary>
    public static bool TryParse(string? json, int statusPort, out IReadOnlyList<ScrapeTarget> targets, out string problem)
    {
        targets = [];
        problem = "";
        if (string.IsNullOrEmpty(json)) { return true; }
        var value = JsonText.Parse(json) as JsonObject;
        if (value is null) { problem = "it is not a JSON object"; return false; }
        if (!TryText(value, "scrape", out string? scrape) || !TryText(value, "path", out string? path) || !TryText(value, "port", out string? port))
        {
            problem = "scrape, path and port must be strings in quotes";
            return false;
        }
        if (scrape == "false") { return true; }
        List<(string? Port, string? Path)> wanted = [];
        if (value["targets"] is JsonArray { Count: > 0 } many)
        {
            foreach (JsonNode? one in many)
            {
                if (one is not JsonObject target || !TryText(target, "port", out string? targetPort) || !TryText(target, "path", out string? targetPath))
                {
                    problem = "each of targets must be an object with port and path as strings";
                    return false;
                }
                wanted.Add((targetPort, targetPath));
            }
        }
        else
        {
            wanted.Add((port, path));
        }
        return TryTargets(wanted, statusPort, out targets, out problem);
    }

    private static bool TryTargets(List<(string? Port, string? Path)> wanted, int statusPort, out IReadOnlyList<ScrapeTarget> targets, out string problem)
    {
        List<ScrapeTarget> found = [];
        targets = found;
        problem = "";
        foreach ((string? portText, string? path) in wanted)
        {
            string text = string.IsNullOrEmpty(portText) ? "80" : portText;
            if (!int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int port) || port is < 1 or > 65535)
            {
                problem = $"'{text}' is not a port";
                return false;
            }
            if (port == statusPort || Forbidden.Contains(port))
            {
                problem = $"port {port} is the sidecar's own";
                return false;
            }
            string clean = string.IsNullOrEmpty(path) ? "/metrics" : path;
            found.Add(new ScrapeTarget(port, clean.StartsWith('/') ? clean : "/" + clean));
        }
        return true;
    }

    /// <summary>Absent is fine; a number or anything else but a string is not, as with pilot-agent.</summary>
    private static bool TryText(JsonObject value, string key, out string? text)
    {
        text = null;
        return value[key] is not { } node || (node is JsonValue scalar && scalar.TryGetValue(out text));
    }
}
