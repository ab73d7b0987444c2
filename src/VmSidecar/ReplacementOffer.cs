using System.Text.Json;
using System.Text.Json.Nodes;

using VmSidecar.Configuration;

namespace VmSidecar;

/// <summary>What an executable says when it is asked whether it can take a running agent's place: the form of the estate it reads, and what it would listen on with today's settings.</summary>
/// <param name="Form"><see cref="AgentEstate.Version"/> of the one that was asked.</param>
/// <param name="Version">Its version.</param>
/// <param name="Uses">One clause each.</param>
internal sealed record ReplacementOffer(int Form, string Version, IReadOnlyList<string> Uses)
{
    /// <summary>Of this build with these settings.</summary>
    public static ReplacementOffer Of(SidecarOptions options, string version) => new(AgentEstate.Version, version, UsesOf(options));

    /// <summary>Everything that the running Envoy, capture rules or clients know the agent by: it cannot change beneath them.</summary>
    public static IReadOnlyList<string> UsesOf(SidecarOptions options) =>
    [
        options.Envoy.Enabled ? $"Envoy with admin port {options.Envoy.AdminPort}" : "no Envoy",
        $"status port {options.Status.Port}",
        options.Dns.Enabled ? $"DNS on {string.Join(", ", options.Dns.Listen)}" : "no DNS",
        $"XDS on {options.Xds.Socket}",
        $"SDS on {string.Join(", ", options.Sds.Sockets)}",
    ];

    /// <summary>One line of JSON.</summary>
    public string ToLine() => new JsonObject { ["form"] = Form, ["version"] = Version, ["uses"] = new JsonArray([.. Uses.Select(u => (JsonNode)u)]) }.ToJsonString();

    /// <summary>Reads <see cref="ToLine"/>; null for anything else.</summary>
    public static ReplacementOffer? Parse(string text)
    {
        try
        {
            return JsonNode.Parse(text) is JsonObject json && json["form"] is { } form && json["uses"] is JsonArray uses
                ? new ReplacementOffer(form.GetValue<int>(), json["version"]?.ToString() ?? "", [.. uses.Select(u => u?.ToString() ?? "")])
                : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException) { return null; }
    }
}
