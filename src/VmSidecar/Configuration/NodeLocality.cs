using System.Text.Json.Nodes;

namespace VmSidecar.Configuration;

/// <summary>Locality from labels: <c>topology.istio.io/locality</c>, then <c>istio-locality</c>. Where there is no '/', '.' separates.</summary>
internal static class NodeLocality
{
    public static string? LabelOf(JsonObject labels) =>
        (labels["topology.istio.io/locality"] ?? labels["istio-locality"])?.ToString() is { Length: > 0 } label ? label : null;

    public static string Sanitise(string label) => label.Contains('/', StringComparison.Ordinal) ? label : label.Replace('.', '/');

    /// <summary>Region, zone, sub-zone; further parts are dropped.</summary>
    public static (string Region, string Zone, string SubZone) Of(string? label)
    {
        string[] parts = label is null ? [] : Sanitise(label).Split('/');
        return (parts.ElementAtOrDefault(0) ?? "", parts.ElementAtOrDefault(1) ?? "", parts.ElementAtOrDefault(2) ?? "");
    }
}
