using System.Globalization;
using System.Security.Cryptography.X509Certificates;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

using Google.Protobuf;

using VmSidecar.MiniEnvoy.Startup;
using VmSidecar.MiniEnvoy.Traffic;

namespace VmSidecar.MiniEnvoy.Observed;

/// <summary>The admin API's answers in JSON, one space of indent as Envoy writes it. Pure.</summary>
internal static class AdminJson
{
    private static readonly JsonSerializerOptions Layout = new() { WriteIndented = true, IndentSize = 1, Encoder = JavaScriptEncoder.Default };

    public static string ServerInfo(ServerState state) => Write(new JsonObject
    {
        ["version"] = MiniEnvoyApp.Version.Split(' ')[^1],
        ["state"] = state.State.Name,
        ["uptime_current_epoch"] = $"{state.UptimeSeconds}s",
        ["uptime_all_epochs"] = $"{state.UptimeSeconds}s",
        ["hot_restart_version"] = "disabled",
        ["command_line_options"] = new JsonObject
        {
            ["base_id"] = "0", ["concurrency"] = state.Arguments.Concurrency, ["config_path"] = state.Arguments.ConfigPath, ["config_yaml"] = state.Arguments.ConfigYaml,
            ["allow_unknown_static_fields"] = state.Arguments.AllowUnknownStaticFields, ["log_level"] = state.Log.Level, ["drain_time"] = $"{state.Arguments.DrainSeconds}s",
            ["mode"] = "Serve", ["disable_hot_restart"] = state.Arguments.All.ContainsKey("--disable-hot-restart"), ["restart_epoch"] = 0,
        },
        ["node"] = JsonNode.Parse(JsonFormatter.Default.Format(state.Bootstrap.Node)),
    });

    public static string ConfigDump(ServerState state)
    {
        var clusters = new JsonArray([.. state.Clusters.All.Where(c => !c.IsStatic).Select(c => (JsonNode)new JsonObject
        {
            ["version_info"] = state.Clusters.Version,
            ["cluster"] = new JsonObject { ["@type"] = Xds.XdsType.Cluster.Url, ["name"] = c.Name, ["type"] = c.Config.Type.ToString().ToUpperInvariant() },
        })]);
        var listeners = new JsonArray([.. state.Listeners.Active.Where(l => !l.IsStatic).Select(l => (JsonNode)new JsonObject
        {
            ["name"] = l.Name,
            ["active_state"] = new JsonObject { ["version_info"] = state.Listeners.Version, ["listener"] = new JsonObject { ["@type"] = Xds.XdsType.Listener.Url, ["name"] = l.Name } },
        })]);
        var routes = new JsonArray([.. state.Listeners.Routes.Select(r => (JsonNode)new JsonObject { ["route_config"] = JsonNode.Parse(JsonFormatter.Default.Format(r)) })]);
        return Write(new JsonObject
        {
            ["configs"] = new JsonArray(
                new JsonObject { ["@type"] = Admin("Bootstrap"), ["bootstrap"] = new JsonObject { ["node"] = JsonNode.Parse(JsonFormatter.Default.Format(state.Bootstrap.Node)) } },
                new JsonObject { ["@type"] = Admin("Clusters"), ["version_info"] = state.Clusters.Version, ["dynamic_active_clusters"] = clusters },
                new JsonObject { ["@type"] = Admin("Listeners"), ["version_info"] = state.Listeners.Version, ["dynamic_listeners"] = listeners },
                new JsonObject { ["@type"] = Admin("Routes"), ["dynamic_route_configs"] = routes }),
        });
    }

    public static string Certificates(ServerState state)
    {
        var roots = new JsonArray([.. state.Secrets.Roots.Select(c => (JsonNode)Describe(c))]);
        var chain = new JsonArray([.. state.Secrets.Leaves.Select(c => (JsonNode)Describe(c))]);
        return Write(new JsonObject { ["certificates"] = roots.Count + chain.Count == 0 ? [] : new JsonArray(new JsonObject { ["ca_cert"] = roots, ["cert_chain"] = chain }) });
    }

    private static JsonObject Describe(X509Certificate2 certificate)
    {
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        return new JsonObject
        {
            ["path"] = "<inline>",
            ["serial_number"] = certificate.SerialNumber.ToLowerInvariant(),
            ["subject_alt_names"] = new JsonArray([.. PeerIdentity.UrisOf(certificate).Select(u => (JsonNode)new JsonObject { ["uri"] = u })]),
            ["days_until_expiration"] = Math.Max(0, (int)(certificate.NotAfter.ToUniversalTime() - now).TotalDays).ToString(CultureInfo.InvariantCulture),
            ["valid_from"] = certificate.NotBefore.ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture),
            ["expiration_time"] = certificate.NotAfter.ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture),
        };
    }

    private static string Admin(string what) => $"type.googleapis.com/envoy.admin.v3.{what}ConfigDump";

    private static string Write(JsonNode node) => node.ToJsonString(Layout) + "\n";
}
