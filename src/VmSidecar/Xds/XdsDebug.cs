using System.Security.Cryptography;
using System.Text.Json.Nodes;

namespace VmSidecar.Xds;

/// <summary>The relay for somebody who looks for a fault: state per type as istioctl proxy-status words it, and the configuration as Envoy accepted it. Made per request; only for callers on this host.</summary>
internal sealed class XdsDebug(XdsStatus status, StreamLedger ledger, ResourceKeeper keeper)
{
    /// <summary>Per type: sync state, version, nonce, error, subscribed names. The same with istiod down.</summary>
    public JsonObject Sync() => new()
    {
        ["stream"] = status.Owner.ToString(),
        ["id"] = status.Id,
        ["mode"] = status.Mode.Word,
        ["trouble"] = status.Trouble,
        ["types"] = new JsonArray([.. status.Types.Select(t => (JsonNode)Type(t))]),
    };

    /// <summary>What Envoy accepted, per type and name: size and SHA-256 of each resource (an encoded Any), as it was relayed.</summary>
    public JsonObject Config()
    {
        var types = new JsonObject();
        foreach ((string type, KeptResources kept) in keeper.Peek())
        {
            types[type] = new JsonArray([.. kept.ByName.OrderBy(r => r.Key, StringComparer.Ordinal).Select(r => (JsonNode)new JsonObject
            {
                ["name"] = r.Key, ["bytes"] = r.Value.Length, ["sha256"] = Convert.ToHexStringLower(SHA256.HashData(r.Value)),
            })]);
        }
        return types;
    }

    /// <summary>One resource as it was relayed, an encoded Any; null: not kept. The type may be its URL or its label, such as LDS.</summary>
    public byte[]? Resource(string type, string name) =>
        keeper.Peek().Where(k => k.Key == type || VmSidecar.Wire.Protobuf.XdsTypeUrl.Label(k.Key) == type).Select(k => k.Value.ByName.GetValueOrDefault(name)).FirstOrDefault();

    private JsonObject Type(XdsTypeStatus type)
    {
        (IReadOnlyList<string> names, bool cut) = ledger.NamesOf(type.TypeUrl);
        return new JsonObject
        {
            ["type"] = type.TypeUrl,
            ["state"] = StateOf(type),
            ["version"] = type.Version,
            ["nonce"] = type.Nonce,
            ["error"] = type.Error,
            ["resources"] = type.Resources,
            ["requests"] = type.Requests,
            ["responses"] = type.Responses,
            ["lastResponse"] = type.LastResponse?.ToString("O", System.Globalization.CultureInfo.InvariantCulture),
            ["names"] = new JsonArray([.. names.Select(n => (JsonNode)n)]),
            ["namesCut"] = cut,
        };
    }

    private static string StateOf(XdsTypeStatus type) => type switch
    {
        { Responses: 0 } => "NOT_SENT",
        { Ack: XdsAck.Accepted } => "SYNCED",
        { Ack: XdsAck.Refused } => "ERROR",
        _ => "STALE",
    };
}
