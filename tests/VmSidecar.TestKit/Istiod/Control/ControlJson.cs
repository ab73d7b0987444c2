using System.Text.Json.Nodes;

using VmSidecar.TestKit.Istiod.Ads;
using VmSidecar.TestKit.Istiod.Authentication;
using VmSidecar.TestKit.Istiod.Registration;

namespace VmSidecar.TestKit.Istiod.Control;

/// <summary>The state of a FakeIstiod as JSON. Pure.</summary>
internal static class ControlJson
{
    public static JsonArray Texts(IEnumerable<string> texts) => [.. texts.Select(t => (JsonNode)t)];

    public static JsonArray Entries(FakeIstiod istiod) => [.. istiod.Registry.Entries.Select(Entry)];

    public static JsonArray Streams(FakeIstiod istiod) => [.. istiod.Streams.Select(Stream)];

    public static JsonArray Calls(FakeIstiod istiod) => [.. istiod.Ca.Calls.Select(Call)];

    private static JsonObject Entry(WorkloadEntry e) => new()
    {
        ["namespace"] = e.Namespace, ["name"] = e.Name, ["address"] = e.Address, ["group"] = e.Group, ["serviceAccount"] = e.ServiceAccount,
        ["network"] = e.Network, ["labels"] = Map(e.Labels), ["annotations"] = Map(e.Annotations),
        ["healthy"] = e.Healthy?.Status, ["message"] = e.Healthy?.Message, ["connected"] = e.IsConnected, ["offered"] = e.IsOffered,
    };

    private static JsonObject Stream(XdsStreamView s)
    {
        var types = new JsonObject();
        foreach (XdsTypeView type in s.Types) { types[type.Type] = type.State.ToString(); }
        return new JsonObject
        {
            ["id"] = s.Id, ["node"] = s.Node.Id, ["name"] = s.Node.Name, ["group"] = s.Node.Group, ["delta"] = s.Delta, ["identity"] = s.Identity?.Primary,
            ["by"] = s.Identity?.By.ToString(), ["types"] = types,
        };
    }

    private static JsonObject Call(CaCall c) => new()
    {
        ["identity"] = c.Identity?.Primary, ["by"] = c.Identity?.By.ToString(), ["clusterId"] = c.ClusterId, ["validity"] = c.Validity, ["status"] = c.Status.ToString(),
    };

    private static JsonObject Map(IEnumerable<KeyValuePair<string, string>> map)
    {
        var all = new JsonObject();
        foreach ((string key, string value) in map.OrderBy(m => m.Key, StringComparer.Ordinal)) { all[key] = value; }
        return all;
    }
}
