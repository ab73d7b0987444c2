using System.Text.Json.Nodes;

using VmSidecar.Dns;
using VmSidecar.Envoy;
using VmSidecar.Identity;
using VmSidecar.Xds;

namespace VmSidecar;

/// <summary>The whole state at one moment as JSON, for <c>vmsidecar status</c> and the debug pages. Built per request from what the components publish; holds no secret.</summary>
internal sealed class AgentSnapshot(DateTimeOffset processStart, XdsProxy xds, CertificateRotator rotator, EnvoySupervisor envoy, DnsServer? dns, string version)
{
    /// <summary>Of this process; null until it can be replaced.</summary>
    public Replacement? Replacement { get; set; }

    /// <summary>A fresh object: version, pid, started, replacement, istiod, certificate, envoy, names.</summary>
    public JsonObject Take()
    {
        XdsStatus relay = xds.Status;
        return new JsonObject
        {
            ["version"] = version,
            ["pid"] = Environment.ProcessId,
            ["started"] = Time(processStart),
            ["replacement"] = Replacement?.State(),
            ["istiod"] = new JsonObject
            {
                ["stream"] = relay.Owner.ToString(),
                ["since"] = Time(relay.Since),
                ["mode"] = relay.Mode.Delta ? "delta" : "sotw",
                ["trouble"] = relay.Trouble,
                ["staleFrom"] = Time(relay.ServingFrom),
                ["leftOut"] = new JsonArray([.. relay.LeftOut.Select(f => (JsonNode)f)]),
                ["keptIn"] = new JsonArray([.. relay.KeptIn.Select(f => (JsonNode)f)]),
                ["types"] = new JsonArray([.. relay.Types.Select(t => (JsonNode)Type(t))]),
            },
            ["certificate"] = Certificate(rotator.Status.Current),
            ["envoy"] = Envoy(envoy.State.Current),
            ["names"] = Table(),
        };
    }

    /// <summary>The relay for the debug pages.</summary>
    public XdsDebug Relay => xds.Debug;

    /// <summary>The name table for <c>/debug/ndsz</c>, or null before the first.</summary>
    public string? Names() => dns?.TableJson();

    private JsonObject? Table() => dns?.Names.Received.Current is { } table
        ? new JsonObject { ["hosts"] = table.Hosts, ["taken"] = Time(table.Taken), ["fromDisk"] = table.FromDisk }
        : null;

    private static JsonObject Type(XdsTypeStatus type) => new()
    {
        ["type"] = type.TypeUrl,
        ["version"] = type.Version,
        ["nonce"] = type.Nonce,
        ["state"] = type.Ack.ToString(),
        ["error"] = type.Error,
        ["resources"] = type.Resources,
        ["lastResponse"] = Time(type.LastResponse),
    };

    private static JsonObject? Certificate(IdentityStatus? identity) => identity is null ? null : new()
    {
        ["condition"] = identity.Condition.ToString(),
        ["source"] = identity.Source,
        ["until"] = Time(identity.CertificateUntil),
        ["tokenUntil"] = Time(identity.TokenUntil),
        ["lastSuccess"] = Time(identity.LastSuccess),
        ["failures"] = identity.Failures,
        ["lastError"] = identity.LastError,
        ["advice"] = identity.Advice,
    };

    private static JsonObject? Envoy(EnvoyState? state) => state is null ? null : new()
    {
        ["phase"] = state.Phase.ToString(),
        ["pid"] = state.ProcessId,
        ["starts"] = state.Starts,
        ["since"] = Time(state.Since),
        ["lastExit"] = state.LastExit,
    };

    private static JsonValue? Time(DateTimeOffset? when) => when is { } at ? JsonValue.Create(at.ToString("yyyy-MM-ddTHH:mm:ss.fffZ", System.Globalization.CultureInfo.InvariantCulture)) : null;
}
